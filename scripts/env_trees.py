"""Files of an env, for the scripts that compare what builds leave behind."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def tree_hash(folder: Path) -> str:
    """Of every name and every byte below a folder."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        found.update(str(file.relative_to(folder)).encode() + b"\0")
        if file.is_file() and not file.is_symlink():
            found.update(file.read_bytes())
    return found.hexdigest()


def names(folder: Path) -> set[str]:
    """Of every file below a folder."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*")}


def disk_bytes(*folders: Path) -> int:
    """Bytes on disk; what hard links share counts once."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for status in _stats(folder):
            seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def _stats(folder: Path) -> Iterator[os.stat_result]:
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            yield file.stat()
