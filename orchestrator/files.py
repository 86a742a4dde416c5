"""Files that are whole or as they were before, also when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write beside the file, then rename. OSError leaves no temporary file behind."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_bytes(text.encode("utf-8"))
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
