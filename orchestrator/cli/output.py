"""stdout and stderr as commands write to them: no write fails; what was lost is said at the end.

So no command breaks off, or loses what it was about to keep, because a reader went away (`| head`),
the disk under its log is full, or the stream was closed before it began (`>&-`).
"""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import TextIO


class _Stream(io.TextIOWrapper):
    """Remembers the first write that failed, and takes what follows as if there were no problem."""

    problem: OSError | None = None
    kept_in: Path | None = None

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.problem = self.problem or error
        # what is left in the buffer would fail again when Python ends
        _point_to_null(self.fileno(), os.O_WRONLY)


def open_streams() -> None:
    """Put streams whose writes do not fail in the place of stdout and stderr."""
    # click asks the latter how wide the terminal is
    sys.stdout = sys.__stdout__ = _forgiving(sys.stdout, 1)  # type: ignore[misc, assignment]
    sys.stderr = _forgiving(sys.stderr, 2)


def kept_in(file: Path) -> None:
    """Say where a person finds what a command is about to print, should stdout not take it."""
    if isinstance(sys.stdout, _Stream):
        sys.stdout.kept_in = file


def lost() -> str | None:
    """Why stdout did not take everything; None if it did, or if nobody wanted more of it."""
    sys.stdout.flush()
    if not isinstance(sys.stdout, _Stream):
        return None
    problem, file = sys.stdout.problem, sys.stdout.kept_in
    if problem is None:
        return None
    from orchestrator.platforms import NOBODY_READS

    if problem.errno in NOBODY_READS:
        return None
    why = "it is closed" if problem.errno == errno.EBADF else problem.strerror
    return f"cannot write to stdout: {why}" + (f"; see {file}" if file else "")


def _forgiving(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:  # closed; its number would go to the next file that is opened
        _point_to_null(number, os.O_RDONLY)  # a write to it fails, as to what is closed
        stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    line_buffering, write_through = stream.line_buffering, stream.write_through
    return _Stream(
        stream.detach(),
        encoding="utf-8",  # transcripts in any script on any console
        errors="replace",
        line_buffering=line_buffering,
        write_through=write_through,
    )


def _point_to_null(number: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    if null != number:
        os.dup2(null, number)
        os.close(null)
