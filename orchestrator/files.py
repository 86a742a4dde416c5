"""Files that are whole or as they were before, also when the disk is full or the power fails."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def whole_file(file: Path) -> Iterator[TextIO]:
    """Write UTF-8 beside the file, then rename. OSError leaves no temporary file behind."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # else a power cut may leave the new name and no content
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def write_whole(file: Path, text: str) -> None:
    """All of a file's text, see whole_file()."""
    with whole_file(file) as stream:
        stream.write(text)


def sync_folder(folder: Path) -> None:
    """Make the names in it last through a power cut, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folders; some file systems refuse
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
