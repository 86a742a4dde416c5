"""The self-test: it says the truth of this machine, and finds a counter that does not."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from trees import LIMIT_S

from orchestrator.accelerators import CPU
from orchestrator.environments.build import ensure_env
from orchestrator.paths import PROBE_STACK
from orchestrator.selftest import run as selftest
from orchestrator.selftest.probe_file import probe_file
from orchestrator.selftest.probes import DEATHS, FOOTPRINTS
from orchestrator.selftest.record import SelfTest, record_file
from orchestrator.stacks import read_stack
from schemas.records import MemoryPeak

BY_NAME = {one.name: one for one in (*FOOTPRINTS, *DEATHS)}
SIZE_BYTES = 200 << 20


@pytest.fixture(scope="module")
def at_home(environment):
    """This process sees the home that commands see."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ASRBENCH_HOME", "UV_CACHE_DIR", "UV_PYTHON_DOWNLOADS"):
            patch.setenv(name, environment[name])
        yield


@pytest.fixture(scope="module", autouse=True)
def begun(request, asrbench, at_home):
    """One whole self-test, as a person runs it. It mostly waits: begun before all else here."""
    if not any("whole" in getattr(one, "fixturenames", ()) for one in request.session.items):
        yield None
        return
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(asrbench, "selftest", "--json", timeout=300)


@pytest.fixture(scope="module")
def whole(begun):
    """What the whole self-test did, when it has ended."""
    return begun.result()


@pytest.fixture
def bench(at_home, tmp_path):
    stack = read_stack(PROBE_STACK)
    env = ensure_env(stack, CPU, print)
    with probe_file(SIZE_BYTES) as file:
        yield selftest._Bench(stack, env, SIZE_BYTES, file, tmp_path)


@pytest.fixture
def no_cgroup(monkeypatch):
    if sys.platform != "linux":
        pytest.skip("cgroups are Linux only")
    monkeypatch.setattr("orchestrator.platforms.cgroups.make_cgroup", lambda limit_bytes=None: None)


def footprint(bench, name):
    return selftest._footprint(bench, BY_NAME[name], print)


def test_without_a_cgroup_what_cannot_be_seen_is_named(no_cgroup, bench):
    found = footprint(bench, "spike")
    assert found.verdict in ("seen", "not seen"), found.why  # luck decides
    if found.verdict == "not seen":
        assert "no counter of the kernel covers the whole tree here" in found.why
        assert found.reported.bound == "lower"
    beside = footprint(bench, "file-beside-memory")
    assert (beside.verdict, beside.reported.method) == ("seen", "pss-sum")


def test_without_a_cgroup_a_limit_is_kept_and_said(no_cgroup, bench):
    found = selftest._death(bench, BY_NAME["out-of-memory"], print)
    assert found.right, found.why
    assert "over the limit of" in found.said


def test_a_counter_that_is_broken_is_found(no_cgroup, bench, monkeypatch):
    monkeypatch.setattr("orchestrator.platforms.procfs.proportional_bytes", lambda *_: 0)
    found = footprint(bench, "two-children")
    assert found.verdict == "wrong"
    assert "vmhwm says" in found.why
    assert found.reported.error < -0.3


def test_page_cache_that_the_kernel_takes_back_makes_nothing_wrong(bench):
    """It does when memory is short, and some kernels when a page was not used for a while."""
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("this system has no call that drops a file from its cache")
    done = threading.Event()
    last = SIZE_BYTES * 3 // 4, SIZE_BYTES // 4

    def take_back():
        with bench.file.open("rb") as file:
            while not done.wait(0.01):
                os.posix_fadvise(file.fileno(), *last, os.POSIX_FADV_DONTNEED)

    thief = threading.Thread(target=take_back)
    thief.start()
    try:
        found = footprint(bench, "read-cold")
    finally:
        done.set()
        thief.join()
    assert found.verdict == "seen", found.why


@pytest.mark.parametrize(
    ("said", "baseline"),
    [
        ([(64, "upper"), (28, "exact"), (1, "exact")], 28),
        ([(64, "unknown"), (60, "upper"), (62, "upper"), (1, "exact")], 60),
        ([(30, "lower"), (1, "exact")], 30),
    ],
)
def test_a_truth_is_made_of_a_baseline_that_is_not_too_high_if_there_is_one(
    bench, monkeypatch, said, baseline
):
    peaks = iter([MemoryPeak(peak_bytes=size, method="m", bound=bound) for size, bound in said])
    with selftest._worker(bench, "baseline", "anonymous", 0.0) as worker:
        worker.load(LIMIT_S)
        monkeypatch.setattr(worker, "attempt_memory", lambda: next(peaks))
        assert selftest._baseline(worker).peak_bytes == baseline


def test_a_worker_that_dies_in_a_probe_is_wrong_and_said(bench):
    bench.file.write_bytes(b"short")
    found = footprint(bench, "mapped-warm")
    assert (found.verdict, found.reported) == ("wrong", None)
    assert "mmap length is greater than file size" in found.why


def test_a_hang_shows_where(bench):
    if not hasattr(os, "killpg"):
        pytest.skip("Windows has no signal that a hanging process would answer")
    found = selftest._death(bench, BY_NAME["hang"], print)
    assert (found.right, found.outcome) == (True, "timed_out")
    log = (bench.logs / "hang.log").read_text(encoding="utf-8")
    assert "in _hang" in log


def test_too_little_memory_is_said_before_anything_is_made(asrbench, tmp_path):
    done = asrbench("selftest", "--size", 1 << 40, env={"ASRBENCH_HOME": str(tmp_path / "h")})
    assert done.code == 2
    assert "MiB of memory are free" in done.err
    assert not Path(tmp_path / "h").exists()


def test_nothing_is_wrong_with_the_counters_of_this_machine(whole):
    found = SelfTest.model_validate_json(whole.out)
    wrong = [one for one in found.footprints if one.verdict == "wrong"]
    assert not wrong, "\n".join(f"{one.name}: {one.why}; {one.counters}" for one in wrong)
    assert [one for one in found.deaths if not one.right] == []
    assert whole.code == 0, whole.err
    assert [one.name for one in found.footprints] == [one.name for one in FOOTPRINTS]
    assert [one.outcome for one in found.deaths] == [one.outcome for one in DEATHS]
    assert record_file().read_text(encoding="utf-8").strip() != ""


def test_every_footprint_is_within_2_percent_where_a_cgroup_counts(whole):
    found = SelfTest.model_validate_json(whole.out)
    counters = {reading.counter for one in found.footprints for reading in one.counters}
    if "cgroup" not in counters:
        pytest.skip("no cgroup here: what cannot be seen is named instead")
    for one in found.footprints:
        assert one.verdict == "seen"
        assert one.truth_bytes == one.baseline_bytes + found.size_bytes
        for peak in (one.reported, one.reported_for_attempt):
            assert abs(peak.peak_bytes / one.truth_bytes - 1) <= 0.02


def test_counters_alone_are_printed_with_their_errors(whole):
    """The reason to report none of them blindly."""
    found = {one.name: one for one in SelfTest.model_validate_json(whole.out).footprints}

    def error(probe, counter):
        return {one.counter: one.error for one in found[probe].counters}.get(counter)

    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    assert error("forks", "RSS sum") > 2  # four forks and their parent: 5 times
    assert abs(error("anonymous", "RSS sum")) < 0.02
    if error("mapped-warm", "cgroup") is not None:
        assert error("mapped-warm", "cgroup") < -0.5


def test_the_probe_is_no_model_but_has_an_env_like_any_other(asrbench, whole, clips, tmp_path):
    assert "probe" not in [one["model"] for one in asrbench("models", "list", "--json").json()]
    done = asrbench("orchestrate", "--models", "probe", "--results", tmp_path / "r")
    assert done.code == 2
    assert "unknown model 'probe'" in done.err
    line = next(line for line in asrbench("env", "list").out.splitlines() if "probe" in line)
    assert " built " in line
    assert asrbench("env", "check", "probe").code == 0


def test_a_person_gets_a_table_and_the_reasons(whole, at_home, capsys):
    from orchestrator.cli.selftest import _print

    found = SelfTest.model_validate_json(whole.out)
    lost = found.footprints[0].model_copy(update={"verdict": "wrong", "why": "it was lost"})
    dead = found.deaths[0].model_copy(update={"right": False, "why": "called ok, it is crashed"})
    _print(found.model_copy(update={"footprints": (lost,), "deaths": (dead,)}))
    out = capsys.readouterr().out
    assert "anonymous: wrong: it was lost" in out
    assert "segfault: wrong: called ok, it is crashed" in out
    assert "wrong: anonymous, segfault" in out
    assert str(record_file()) in out
