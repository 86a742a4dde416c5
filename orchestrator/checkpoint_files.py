"""Whether a checkpoint's files hold what they should, found by reading all of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from orchestrator.checkpoint_record import CheckpointRecord, FileRecord

READ_BYTES = 1 << 22


def fault(path: Path, expected: FileRecord) -> str | None:
    """What is wrong with a file, in words; None if it is just what it should be."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes != expected.size_bytes:
            return f"has {size_bytes} bytes, expected {expected.size_bytes}"
        found = _digest(path, expected)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if found != expected.digest:
        return f"is damaged: its hash is {found[:12]}…, expected {expected.digest[:12]}…"
    return None


def faults(snapshot: Path, record: CheckpointRecord) -> dict[str, str]:
    """What is wrong with each of its files that is not right."""
    found = {file.name: fault(snapshot / file.name, file) for file in record.files}
    return {name: what for name, what in found.items() if what is not None}


def size_words(size_bytes: int) -> str:
    """1.6 GB, in units of 1000."""
    for unit, unit_bytes in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f} {unit}"
    return f"{size_bytes} B"


def _digest(path: Path, expected: FileRecord) -> str:
    """By the hash that is known: sha256 of the content, or git's name for it."""
    if expected.sha256:
        state = hashlib.sha256()
    else:
        state = hashlib.sha1(b"blob %d\0" % expected.size_bytes, usedforsecurity=False)
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            state.update(memoryview(buffer)[:count])
    return state.hexdigest()
