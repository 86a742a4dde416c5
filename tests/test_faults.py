"""A model that misbehaves costs its own row and nothing else."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest
from conftest import STACKS, runs

from orchestrator.run.options import RunOptions
from orchestrator.run.orchestrate import prepare, start
from orchestrator.views.plain import QuietView


@pytest.fixture
def run(asrbench, puppet_env, tmp_path):
    """Run the puppet over clips; (exit code, rows by behaviour, stdout)."""

    def go(folder, *arguments, models="puppet"):
        done = asrbench(
            "orchestrate", "--models", models, "--stacks", STACKS, "--snippets", folder,
            "--results", tmp_path / "results", "--timeout", "2", *arguments,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        files = list((tmp_path / "results").glob("2*/results.csv"))
        assert len(files) == 1, done.err
        with files[0].open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return done, {row["Snippet"].partition("-")[2]: row for row in rows}, files[0].parent

    return go


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX way to die")
FAULTS = [
    ("raise", "failed", "ValueError: the puppet was told to raise"),
    pytest.param("segfault", "crashed", "SIGSEGV", marks=POSIX),
    pytest.param("abort", "crashed", "SIGABRT", marks=POSIX),
    ("exit", "crashed", "exited with status 0"),
    ("system_exit", "crashed", "exited with status 7"),
    pytest.param("sigkill", "crashed", "SIGKILL", marks=POSIX),
    ("memory_error", "out_of_memory", "MemoryError"),
    ("number", "failed", "TypeError: transcribe() returned int"),
    ("long", "failed", "the transcript has 5000000 characters"),
    ("nan", "protocol_error", "details.confidence"),
    ("wire_noise", "protocol_error", "expected a frame"),
    ("grandchild", "crashed", "exited with status 3"),
]


@pytest.mark.parametrize(("behaviour", "outcome", "words"), FAULTS)
def test_a_fault_costs_its_row_and_the_next_snippet_goes_on(run, clips, behaviour, outcome, words):
    done, rows, _ = run(clips("say", behaviour, "dict"))
    assert done.code == 1
    assert rows[behaviour]["Outcome"] == outcome
    assert words in rows[behaviour]["Error"]
    assert rows["say"]["Outcome"] == rows["dict"]["Outcome"] == "ok"
    assert rows["dict"]["Transcript"] == "hello world"


@pytest.mark.parametrize("behaviour", ["sleep", "spin"])
def test_a_hang_is_ended_at_its_deadline(run, clips, behaviour):
    done, rows, _ = run(clips(behaviour, "say", seconds=0.1))
    assert done.code == 1
    assert rows[behaviour]["Outcome"] == "timed_out"
    assert rows["say"]["Outcome"] == "ok"


def test_a_row_is_on_disk_before_its_worker_is_cleaned_up(
    environment, puppet_env, clips, tmp_path, monkeypatch
):
    """Killing may take seconds, and what is lost with the controller then is not a result."""
    monkeypatch.setenv("ASRBENCH_HOME", environment["ASRBENCH_HOME"])
    journal, seen = tmp_path / "results" / "latest" / "journal.jsonl", []

    class Watching(QuietView):
        def attempt(self, attempt):
            pid = int(re.search(r"child (\d+)", attempt.error)[1])
            seen.append((pid, runs(pid), "timed_out" in journal.read_text(encoding="utf-8")))

    snippets = clips("nurse", seconds=0.1)
    options = RunOptions(
        models=("puppet",), snippets=snippets, stacks=(STACKS,), timeout_s=3, retries=0
    )
    start(prepare(options), tmp_path / "results", Watching())
    ((pid, alive, written),) = seen
    assert alive
    assert written
    assert not runs(pid)


@POSIX
def test_a_native_crash_leaves_its_python_stack_in_the_error_and_the_log(run, clips):
    _, rows, folder = run(clips("segfault"))
    assert "Fatal Python error: Segmentation fault" in rows["segfault"]["Error"]
    assert "_segfault" in (folder / "logs" / "puppet.log").read_text(encoding="utf-8")


def test_nothing_of_the_worker_is_left_after_a_crash_with_a_detached_grandchild(run, clips):
    _, _, folder = run(clips("grandchild"))
    log = (folder / "logs" / "puppet.log").read_text(encoding="utf-8")
    pid = int(re.search(r"grandchild (\d+)", log)[1])
    assert not runs(pid)


@POSIX
def test_what_a_worker_prints_lands_in_its_log(run, clips):
    done, rows, folder = run(clips("print"))
    assert done.code == 0
    assert rows["print"]["Transcript"] == "hello world"
    log = (folder / "logs" / "puppet.log").read_text(encoding="utf-8")
    assert {"python speaks", "c speaks", "a grandchild speaks"} <= set(log.splitlines())


def test_a_flood_on_stderr_neither_blocks_the_worker_nor_fills_the_disk(run, clips):
    _, rows, folder = run(clips("flood"))
    assert rows["flood"]["Outcome"] == "ok"
    assert (folder / "logs" / "puppet.log").stat().st_size < 17 << 20


@POSIX
def test_after_so_many_crashes_in_a_row_the_model_is_given_up(run, clips):
    folder = clips("segfault", "abort", "say")
    done, rows, _ = run(folder, "--max-crashes", "2")
    assert done.code == 3
    assert rows["say"]["Outcome"] == "crashed"
    assert rows["say"]["Error"].startswith("not tried: given up after 2 crashes in a row")


@POSIX
def test_a_success_between_two_crashes_starts_the_count_again(run, clips):
    _, rows, _ = run(clips("segfault", "say", "abort", "dict"), "--max-crashes", "2")
    assert rows["dict"]["Outcome"] == "ok"


@pytest.mark.parametrize(
    ("model", "outcome", "words"),
    [
        pytest.param("puppet-shy", "crashed", "given up after 3 crashes in a row", marks=POSIX),
        ("puppet-raises", "failed", "the puppet was told to raise"),
        ("puppet-sleeps", "timed_out", "no answer in time"),
    ],
)
def test_a_model_that_cannot_load_gets_rows_that_say_so(run, clips, model, outcome, words):
    done, rows, _ = run(clips("say", "dict"), "--load-timeout", "3", models=f"puppet,{model}")
    assert done.code == 1
    bad = [row for row in _all_rows(done, rows) if row["Model"] == model]
    assert [row["Outcome"] for row in bad] == [outcome] * 2
    assert all(words in row["Error"] and row["Phase"] == "load" for row in bad)


def test_partial_texts_end_in_the_last_one(run, clips):
    _, rows, _ = run(clips("generator"))
    assert rows["generator"]["Transcript"] == "one two three"


def test_peak_ram_rises_with_what_the_model_allocates(run, clips):
    _, rows, _ = run(clips("say", "allocate"))
    before, after = (float(rows[name]["Peak_RAM_MB"]) for name in ("say", "allocate"))
    assert 200 < after - before < 260
    assert rows["allocate"]["Peak_RAM_Method"]


def _all_rows(done, rows):
    folder = Path(re.search(r"^results\s+(.+)$", done.out, re.MULTILINE)[1])
    with folder.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
