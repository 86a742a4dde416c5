"""A model that misbehaves costs its own row and nothing else, on every platform.

The whole matrix of faults and phases is in matrix/, for Linux.
"""

from __future__ import annotations

import csv
import re
import sys

import pytest
from conftest import STACKS, runs, write_clips

from orchestrator.run.options import RunOptions
from orchestrator.run.orchestrate import prepare, start
from orchestrator.views.plain import QuietView

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX way to die")
FAULTS = {
    "raise": ("failed", "ValueError: the puppet was told to raise"),
    "exit": ("crashed", "exited with status 0"),
    "memory_error": ("out_of_memory", "MemoryError"),
    "number": ("failed", "TypeError: transcribe() returned int"),
    "long": ("failed", "the transcript has 5000000 characters"),
    "nan": ("protocol_error", "details.confidence"),
    "grandchild": ("crashed", "exited with status 3"),
    "spin": ("timed_out", "no answer in time"),
}
HARMLESS = {
    "say": "hello world",
    "dict": "hello world",
    "flood": "hello world",
    "generator": "one two three",
}


@pytest.fixture(scope="module")
def run(asrbench, puppet_env, tmp_path_factory):
    """Run the puppet over clips: (what the command did, rows by model and behaviour, folder)."""

    def go(behaviours, *arguments, models="puppet"):
        place = tmp_path_factory.mktemp("faults")
        done = asrbench(
            "orchestrate", "--models", models, "--stacks", STACKS,
            "--snippets", write_clips(place / "clips", behaviours, 0.1),
            "--results", place / "results", "--timeout", "2", "--retries", "0", *arguments,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        folder = next((place / "results").glob("2*"))
        with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return done, {(row["Model"], row["Snippet"][3:]): row for row in rows}, folder

    return go


@pytest.fixture(scope="module")
def all_faults(run):
    """One run over each fault, and what is harmless between them."""
    return run([*FAULTS, *HARMLESS], "--max-crashes", "100")


@pytest.mark.parametrize("behaviour", FAULTS)
def test_a_fault_costs_its_row_and_says_why(all_faults, behaviour):
    done, rows, _ = all_faults
    outcome, words = FAULTS[behaviour]
    assert done.code == 1
    assert rows["puppet", behaviour]["Outcome"] == outcome
    assert words in rows["puppet", behaviour]["Error"]


@pytest.mark.parametrize("behaviour", HARMLESS)
def test_what_is_not_a_fault_goes_on_among_them(all_faults, behaviour):
    _, rows, _ = all_faults
    assert rows["puppet", behaviour]["Outcome"] == "ok"
    assert rows["puppet", behaviour]["Transcript"] == HARMLESS[behaviour]


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


def test_nothing_of_the_worker_is_left_after_a_crash_with_a_detached_grandchild(all_faults):
    _, _, folder = all_faults
    log = (folder / "logs" / "puppet.log").read_bytes()
    assert not runs(int(re.search(rb"grandchild (\d+)", log)[1]))


def test_a_flood_on_stderr_does_not_fill_the_disk(all_faults):
    _, _, folder = all_faults
    assert (folder / "logs" / "puppet.log").stat().st_size < 17 << 20


@POSIX
def test_a_native_crash_leaves_its_python_stack_and_what_was_printed_before(run):
    _, rows, folder = run(["print", "segfault"], "--no-warm-up")
    assert "Fatal Python error: Segmentation fault" in rows["puppet", "segfault"]["Error"]
    log = (folder / "logs" / "puppet.log").read_text(encoding="utf-8")
    assert "_segfault" in log
    assert {"python speaks", "a grandchild speaks"} <= set(log.splitlines())


@POSIX
def test_what_a_worker_prints_lands_in_its_log_and_not_on_the_wire(run):
    _, rows, folder = run(["print"], "--no-warm-up")
    assert rows["puppet", "print"]["Transcript"] == "hello world"
    log = (folder / "logs" / "puppet.log").read_text(encoding="utf-8")
    assert {"python speaks", "c speaks", "a grandchild speaks"} <= set(log.splitlines())


def test_after_so_many_crashes_in_a_row_the_model_is_given_up(run):
    done, rows, _ = run(["exit", "grandchild", "say"], "--max-crashes", "2", "--no-warm-up")
    assert done.code == 3
    assert rows["puppet", "say"]["Outcome"] == "crashed"
    assert rows["puppet", "say"]["Error"].startswith("not tried: given up after 2 crashes in a row")


def test_a_success_between_two_crashes_starts_the_count_again(run):
    _, rows, _ = run(["exit", "say", "grandchild", "dict"], "--max-crashes", "2", "--no-warm-up")
    assert rows["puppet", "dict"]["Outcome"] == "ok"


@POSIX
def test_a_model_that_cannot_load_gets_rows_that_say_so(run):
    wanted = {
        "puppet-shy": ("crashed", "given up after 3 crashes in a row"),
        "puppet-raises": ("failed", "the puppet was told to raise"),
        "puppet-sleeps": ("timed_out", "no answer in time"),
    }
    models = ",".join(["puppet", *wanted])
    done, rows, _ = run(["say", "dict"], "--load-timeout", "3", models=models)
    assert done.code == 1
    for model, (outcome, words) in wanted.items():
        for behaviour in ("say", "dict"):
            row = rows[model, behaviour]
            assert (row["Outcome"], row["Phase"]) == (outcome, "load")
            assert words in row["Error"]


def test_peak_ram_rises_with_what_the_model_allocates(run):
    _, rows, _ = run(["say", "allocate"])
    before, after = (float(rows["puppet", name]["Peak_RAM_MB"]) for name in ("say", "allocate"))
    assert 200 < after - before < 260
    assert rows["puppet", "allocate"]["Peak_RAM_Method"]
