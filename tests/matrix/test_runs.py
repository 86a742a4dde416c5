"""What befalls a whole run: its disk fills, its folder goes, the clock is set."""

from __future__ import annotations

import subprocess
import sys

import pytest

from matrix import stacks
from matrix.batches import GOOD
from matrix.runs import orchestrate
from matrix.titles import title

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="written for Linux")

NONE = ("transcribe", "none")
TURN = ["--no-warm-up", "--retries", "0", "--timeout", "2", "--load-timeout", "20"]
DISK_BYTES = 56 << 20  # a run refuses to begin with less than 50 MiB


@pytest.fixture
def turn(environment, saboteur, tmp_path):
    """turn(phase, fault) → a run in whose middle the fault happens."""

    def go(phase, fault, *arguments, world=""):
        folder = tmp_path / "rün"
        folder.mkdir(exist_ok=True)
        by_clip = phase in ("transcribe", "idle")
        clips = [NONE, (phase, fault), NONE] if by_clip else [NONE]
        models = [GOOD] if by_clip else [GOOD, f"{phase}-{fault}", "shutdown-segfault"]
        if not arguments:
            arguments = (
                "--models", ",".join(models), "--stacks", saboteur, *TURN,
                "--snippets", stacks.write_clips(folder / "clips", clips),
            )  # fmt: skip
        worlds = ",".join(filter(None, ["short-waits", "slow-disk", world]))
        return orchestrate(environment, folder, worlds, *arguments)

    return go


@pytest.fixture
def small_disk(tmp_path):
    """A run's results are on a disk of 56 MB."""
    place = tmp_path / "rün" / "results"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    (place.parent / "fill").write_text(str(place), encoding="utf-8")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("phase", ["load", "transcribe", "idle", "shutdown"])
def test_a_disk_that_fills_up_loses_nothing_that_was_recorded(
    turn, small_disk, record_property, phase
):
    run = turn(phase, "fill_disk")
    assert run.code == 2, run.out + run.err
    assert "No space left" in run.err
    assert "Traceback" not in run.err
    assert run.left() == {}
    recorded = [line for line in run.journal if line["kind"] == "attempt"]
    assert recorded
    (small_disk / "filler").unlink()
    (small_disk.parent / "fill").unlink()
    again = turn(phase, "", "--resume", "latest")
    assert again.code == 0, again.out + again.err
    assert {row["Outcome"] for row in again.rows.values()} == {"ok"}
    kept = [line for line in again.journal if line["kind"] == "attempt"]
    assert kept[: len(recorded)] == recorded
    record_property("cell", (title("fill_disk"), phase, "said, resumed"))


@pytest.mark.parametrize("phase", ["load", "transcribe", "idle", "shutdown"])
def test_a_run_folder_that_is_deleted_is_said(turn, tmp_path, record_property, phase):
    results = tmp_path / "rün" / "results"
    results.mkdir(parents=True)
    (results.parent / "delete").write_text(str(results), encoding="utf-8")
    run = turn(phase, "delete_run")
    assert run.code == 2, run.out + run.err
    assert "was deleted or moved" in run.err
    assert "Traceback" not in run.err
    assert run.left() == {}
    record_property("cell", (title("delete_run"), phase, "said"))


def test_a_clock_that_is_set_changes_no_time_and_no_deadline(turn, record_property):
    run = turn("transcribe", "hang", world="wild-clock")
    assert run.code == 1, run.out + run.err
    rows = [run.rows[GOOD, name] for name in ("000", "001", "002")]
    assert [row["Outcome"] for row in rows] == ["ok", "timed_out", "ok"]
    assert all(0 < float(row["Time_Sec"]) < 60 for row in rows if row["Outcome"] == "ok")
    assert all(0 < float(row["Load_Time_Sec"]) < 60 for row in rows)
    assert run.left() == {}
    for phase in ("load", "transcribe", "idle"):
        record_property("cell", (title("clock"), phase, "no effect"))


def test_a_child_that_died_of_memory_is_not_to_blame_for_a_later_failure(
    environment, saboteur, tmp_path
):
    from conftest import made_cgroup

    made = made_cgroup()
    made.close()
    folder = tmp_path / "run"
    folder.mkdir()
    asked = [("transcribe", fault) for fault in ("childs_memory", "exception", "none")]
    run = orchestrate(
        environment, folder, "short-waits", "--models", GOOD, "--stacks", saboteur, *TURN,
        "--snippets", stacks.write_clips(folder / "clips", asked), "--memory-limit", "250MB",
        "--timeout", "20",
    )  # fmt: skip
    rows = list(run.rows.values())
    assert [row["Outcome"] for row in rows] == ["out_of_memory", "failed", "ok"]
    # version 1 leaves the worker alive; version 2 ends the whole tree
    workers = 1 if made.method == "cgroup-v1" else 2
    errors = [row["Error"] for row in rows]
    assert len({row["Load_Time_Sec"] for row in rows}) == workers, errors
