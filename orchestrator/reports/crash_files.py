"""crashes/: one readable file for each death or hang of a worker, made from the journal."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import RunFolderError
from orchestrator.files import write_whole
from orchestrator.reports.state import RunState
from schemas.records import Attempt, Crash, ModelFailed, WorkerEnded

FOLDER = "crashes"
NAME_BYTES = 150  # of model and snippet; file systems take 255 in all
OURS = re.compile(r"\d{3,}-.+\.txt")


def write_crashes(state: RunState, folder: Path) -> None:
    """Number, model and snippet make the name; the order is the journal's.

    Files of deaths that do not count any more are removed; what else is there stays.
    """
    place = folder / FOLDER
    written = set()
    try:
        for number, (ended, crash) in enumerate(_crashes(state), start=1):
            place.mkdir(exist_ok=True)
            file = place / f"{number:03d}-{_slug(ended)}.txt"
            write_whole(file, crash_text(ended, crash))
            written.add(file.name)
        for file in place.glob("*.txt"):
            if file.name not in written and OURS.fullmatch(file.name) and file.is_file():
                file.unlink()
    except OSError as error:
        raise RunFolderError(f"cannot write to {place}: {error.strerror}") from error


def _crashes(state: RunState) -> Iterator[tuple[Attempt | WorkerEnded | ModelFailed, Crash]]:
    every: Iterator[Attempt | WorkerEnded | ModelFailed] = itertools.chain(
        state.attempts(), state.ends, state.failures.values()
    )
    for ended in every:
        if ended.crash:
            yield ended, ended.crash


def _slug(ended: Attempt | WorkerEnded | ModelFailed) -> str:
    snippet = _snippet(ended) or ended.phase
    whole = re.sub(r"[^\w.-]+", "_", f"{ended.model}-{snippet}")
    return whole.encode("utf-8")[:NAME_BYTES].decode("utf-8", "ignore")


def _snippet(ended: Attempt | WorkerEnded | ModelFailed) -> str | None:
    if isinstance(ended, Attempt):
        return ended.snippet
    return ended.after if isinstance(ended, WorkerEnded) else None


def _first_line(error: str | None) -> str:
    return (error or "").partition("\n")[0]


def crash_text(ended: Attempt | WorkerEnded | ModelFailed, crash: Crash) -> str:
    """All that is known, for a person."""
    snippet = _snippet(ended)
    lines = [
        f"{ended.model}: {ended.outcome} in phase {ended.phase}, {ended.at}",
        f"how      {crash.exit}",
        *([f"snippet  {snippet}"] if snippet else []),
        *([f"tried    {_first_line(ended.error)}"] if ended.phase == "transcribe" else []),
        f"frames   {crash.last_frames}",
        f"lock     sha256 {crash.lock_sha256}",
        *([f"again    {crash.replay}"] if crash.replay else []),
    ]
    if crash.kernel_lines:
        lines += ["", "The kernel's log:", *crash.kernel_lines]
    if crash.memory_curve:
        lines += ["", "Resident memory, seconds before the end:"]
        lines += [
            f"  {-before:8.2f} s  {size / 1e6:10.1f} MB" for before, size in crash.memory_curve
        ]
    if crash.stack:
        lines += ["", "Python's stack:", crash.stack]
    if crash.log_tail:
        lines += ["", "Its last lines:", crash.log_tail]
    return "\n".join(lines) + "\n"
