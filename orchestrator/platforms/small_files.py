"""Files of /proc, /sys and cgroups, of which an attempt reads some dozens.

pathlib takes two to three times as long.
"""

from __future__ import annotations

import os

_CHUNK_BYTES = 1 << 16
_MOST_DIGITS = 20


def read_small(path: str) -> bytes:
    """All of it; OSError if it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        found = os.read(descriptor, _CHUNK_BYTES)
        while more := os.read(descriptor, _CHUNK_BYTES):
            found += more
        return found
    finally:
        os.close(descriptor)


def number_of(name: bytes, text: bytes) -> int | None:
    """Of the line "name number"; None without one. Regular expressions take 20 times as long."""
    _, found, rest = (b"\n" + text).partition(b"\n" + name + b" ")
    number = rest[:_MOST_DIGITS].partition(b"\n")[0]
    return int(number) if found and number.isdigit() else None


def write_small(path: str, value: bytes) -> None:
    """Into a file that is there; OSError if it takes nothing."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, value)
    finally:
        os.close(descriptor)
