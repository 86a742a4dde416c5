"""The journal: one line per outcome, on disk before the next attempt starts.

Everything else in a run's folder can be made again from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from orchestrator.errors import RunFolderError
from orchestrator.files import sync_folder
from orchestrator.platforms import quoted
from schemas.records import JOURNAL_LINE, JournalLine


@dataclass(frozen=True)
class JournalEnd:
    """How long a journal is, and whether its last line was torn by a sudden end."""

    good_bytes: int  # length without the torn line
    torn: bool


class Journal:
    """Open for appending; each append is fsynced."""

    def __init__(self, file: Path, good_bytes: int | None = None) -> None:
        """Open a journal. good_bytes cuts a torn last line off first."""
        try:
            self._file = file.open("ab", buffering=0)
            if good_bytes is not None:
                self._file.truncate(good_bytes)
        except OSError as error:
            raise RunFolderError(f"cannot write {file}: {error.strerror}") from error
        sync_folder(file.parent)
        self._path = file

    def append(self, line: JournalLine) -> None:
        """Write one line durably. Raises RunFolderError if the disk refuses."""
        try:
            data = memoryview(JOURNAL_LINE.dump_json(line) + b"\n")
            while data:  # a disk that fills takes a part first
                data = data[self._file.write(data) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            go_on = quoted(["asrbench", "orchestrate", "--resume", str(self._path.parent)])
            raise RunFolderError(
                f"cannot write {self._path}: {error.strerror}; what is in it is safe: make room, "
                f"then go on with: {go_on}"
            ) from error

        self.check()

    def check(self) -> None:
        """Raises RunFolderError if the journal was deleted or moved: it takes writes even then."""
        if not self._path.exists():
            raise RunFolderError(
                f"{self._path} was deleted or moved while the run wrote to it; start the run "
                "again, or go on where the folder is now: asrbench orchestrate --resume FOLDER"
            )

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def journal_end(file: Path) -> JournalEnd:
    """Where the last whole line ends. Raises RunFolderError if it cannot be read."""
    size = good_bytes = 0
    for line in _raw_lines(file):
        size += len(line)
        if line.endswith(b"\n"):
            good_bytes = size
    return JournalEnd(good_bytes, torn=size > good_bytes)


def read_journal(file: Path) -> Iterator[JournalLine]:
    """One line after the other: all of a long run at once would be some hundred MB.

    A torn last line is left out; anything else that is wrong is a RunFolderError.
    """
    for number, line in enumerate(_raw_lines(file), start=1):
        if not line.endswith(b"\n"):
            return
        try:
            yield JOURNAL_LINE.validate_json(line)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise RunFolderError(f"{file}, line {number} is damaged: {problem}") from error


def _raw_lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            yield from stream
    except FileNotFoundError:  # the run ended before its first line
        return
    except OSError as error:
        raise RunFolderError(f"cannot read {file}: {error.strerror}") from error
