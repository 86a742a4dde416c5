"""A self-test's verdict in the runs that follow, and the rules that it is made by."""

from __future__ import annotations

import json

import pytest
from conftest import STACKS

import orchestrator
from orchestrator.machine import counters_identity
from orchestrator.selftest.probes import DEATHS, FOOTPRINTS
from orchestrator.selftest.record import DeathFound, FootprintFound, SelfTest
from orchestrator.selftest.verdicts import NOISE, judge_death, judge_footprint
from schemas.records import MemoryPeak

BY_NAME = {one.name: one for one in (*FOOTPRINTS, *DEATHS)}
HERE = counters_identity()
MB = 1_000_000
HINT = "nobody has tested this machine's counters yet"


def peak(megabytes, method="vmhwm", bound="exact", **more):
    return MemoryPeak(peak_bytes=round(megabytes * MB), method=method, bound=bound, **more)


def judged(name, total, own=None):
    return judge_footprint(BY_NAME[name], 300 * MB, peak(100), total, own or total)


@pytest.mark.parametrize(
    ("name", "total", "verdict"),
    [
        ("anonymous", peak(400), "seen"),
        ("anonymous", peak(407.9), "seen"),
        ("anonymous", peak(408.1), "wrong"),
        ("anonymous", peak(391.9), "wrong"),
        ("anonymous", peak(300, bound="lower"), "wrong"),  # it was held: any counter sees it
        ("spike", peak(300, "rss-sum-250ms", "lower"), "not seen"),
        ("spike", peak(300, "rss-sum-50ms", "unknown"), "not seen"),
        ("spike", peak(300, "vmhwm", "exact"), "wrong"),  # nothing warns of it
        ("spike", peak(500, "rss-sum-250ms", "lower"), "wrong"),  # no sampling adds what is not
        ("spike", peak(300, "cgroup-v2", "exact", cgroup_bytes=300 * MB), "wrong"),
        ("spike", peak(300, "pss-sum", "lower", cgroup_bytes=300 * MB), "wrong"),
        ("forks", peak(1600, "rss-sum-50ms", "lower"), "not seen"),
        ("forks", peak(1600, "pss-sum", "lower"), "wrong"),
        ("two-children", peak(250, "rss-sum-50ms", "lower"), "wrong"),
        ("read-cold", peak(700, "cgroup-v1", "upper", cgroup_bytes=700 * MB), "wrong"),
    ],
)
def test_a_footprint_is_seen_or_named_or_wrong(name, total, verdict):
    found = judged(name, total)
    assert found.verdict == verdict
    assert bool(found.why) == (verdict != "seen")
    assert found.truth_bytes == 400 * MB


def test_the_worse_of_both_published_peaks_decides():
    assert judged("anonymous", peak(400), peak(100)).verdict == "wrong"
    assert judged("spike", peak(400), peak(100, "rss-sum-250ms", "lower")).verdict == "not seen"


def test_each_counter_has_its_own_error():
    total = peak(400, cgroup_bytes=200 * MB, high_water_bytes=400 * MB, resident_bytes=600 * MB)
    errors = {one.counter: one.error for one in judged("anonymous", total).counters}
    assert errors == {"cgroup": -0.5, "largest process": 0.0, "RSS sum": 0.5}


STACK, LIMIT, ALL_NOISE = "Fatal Python error", "met its limit", "\n".join(NOISE)


@pytest.mark.parametrize(
    ("name", "said", "right"),
    [
        ("segfault", ("crashed", "", STACK, "exact", ""), True),
        ("segfault", ("failed", "", None, "exact", ""), False),
        ("out-of-memory", ("out_of_memory", LIMIT, None, "lower", ""), True),
        ("out-of-memory", ("out_of_memory", "it ended", None, "lower", ""), False),
        ("out-of-memory", ("out_of_memory", LIMIT, None, "exact", ""), False),
        ("out-of-memory", ("out_of_memory", LIMIT, None, None, ""), False),
        ("out-of-memory", ("crashed", LIMIT, None, "lower", ""), False),
        ("hang", ("timed_out", "", STACK, "exact", ""), True),
        ("stdout-noise", ("ok", "done", None, None, ALL_NOISE), True),
        ("stdout-noise", ("ok", "done", None, None, NOISE[0]), False),
        ("stdout-noise", ("protocol_error", "", None, None, ALL_NOISE), False),
    ],
)
def test_a_death_is_called_what_it_is_with_its_evidence(name, said, right):
    found = judge_death(BY_NAME[name], *said)
    assert found.right == right
    assert bool(found.why) != right


def selftest(**changed):
    footprint = FootprintFound(name="spike", what="a spike", verdict="not seen", why="no counter")
    death = DeathFound(
        name="hang", what="hangs", right=True, expected="timed_out", outcome="timed_out", said=""
    )
    whole = SelfTest(
        at="2026-01-31T12:00:00+00:00",
        asrbench=orchestrator.__version__,
        machine=HERE,
        size_bytes=300 * MB,
        tolerance=0.02,
        footprints=(footprint,),
        deaths=(death,),
    )
    return whole.model_copy(update=changed)


@pytest.fixture
def run(asrbench, puppet_env, clips, home, tmp_path):
    """Run the puppet after this was kept; returns what run.json has, and what was said."""
    file = home / "cache" / "selftest.json"
    before = file.read_bytes() if file.exists() else None

    def go(text):
        file.parent.mkdir(exist_ok=True)
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(text, encoding="utf-8")
        results = tmp_path / "r"
        done = asrbench(
            "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", clips("say"),
            "--results", results, "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        record = json.loads((results / "latest" / "run.json").read_text(encoding="utf-8"))
        return record["selftest"], done.err

    yield go
    if before is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(before)


def test_a_run_carries_the_verdict_of_its_machine(run):
    kept, said = run(selftest().model_dump_json())
    assert kept == {
        "at": "2026-01-31T12:00:00+00:00",
        "ok": True,
        "size_bytes": 300 * MB,
        "footprints": {"spike": {"verdict": "not seen", "error": None, "why": "no counter"}},
        "deaths": {"hang": "timed_out"},
    }
    assert "self-test" not in said
    assert HINT not in said


def test_a_run_warns_of_counters_that_are_wrong(run):
    wrong = FootprintFound(name="forks", what="forks", verdict="wrong", why="off")
    kept, said = run(selftest(footprints=(wrong,)).model_dump_json())
    assert kept["ok"] is False
    assert "the self-test of 2026-01-31 found wrong: forks" in said


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[1]",
        selftest(asrbench="0.0.1").model_dump_json(),
        selftest(machine=["Plan 9"]).model_dump_json(),
        selftest(machine=[*HERE[:-2], "2.6.32", HERE[-1]]).model_dump_json(),
        selftest(machine=[*HERE[:-1], "another"]).model_dump_json(),
    ],
    ids=[
        "none",
        "empty",
        "not one",
        "of another version",
        "of another machine",
        "of another kernel",
        "of another counter",
    ],
)
def test_without_a_self_test_of_this_machine_there_is_a_hint(run, text):
    kept, said = run(text)
    assert kept is None
    assert said.count(HINT) == 1
