"""Kernel counters, of which an attempt reads a dozen."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os
import threading

_CHUNK_BYTES = 1 << 16
_PAGE_BYTES = 2048  # half of one: a shorter piece is the last


class OpenFiles:
    """Files that are read again and again, and so are kept open: that takes half of the time.

    Not for cgroup.procs of version 1, which would be up to a second old.
    """

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}
        self._lock = threading.Lock()

    def read(self, path: str) -> bytes:
        """All of it as it is now; OSError if it cannot be read, or what it tells of is gone."""
        with self._lock:
            descriptor = self._descriptors.get(path)
            if descriptor is None:
                descriptor = self._descriptors[path] = os.open(path, os.O_RDONLY)
            try:
                return _whole(descriptor)
            except OSError:  # what comes back under this name is another file
                os.close(self._descriptors.pop(path))
                raise

    def close(self) -> None:
        """All of them."""
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])


def _whole(descriptor: int) -> bytes:
    found = piece = os.pread(descriptor, _CHUNK_BYTES, 0)
    while len(piece) >= _PAGE_BYTES:  # /proc gives a page at a time, rounded down to whole lines
        piece = os.pread(descriptor, _CHUNK_BYTES, len(found))
        found += piece
    return found
