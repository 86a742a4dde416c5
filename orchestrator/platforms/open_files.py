"""Counters of a cgroup, of which an attempt reads a dozen."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import os

_CHUNK_BYTES = 1 << 16
_PAGE_BYTES = 2048  # a little less than one


class OpenFiles:
    """Files that are read again and again, and so are kept open: that takes half of the time.

    Not for cgroup.procs of version 1, which would be up to a second old.
    """

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}

    def read(self, path: str) -> bytes:
        """All of it as it is now; OSError if it cannot be read, or what it tells of is gone."""
        descriptor = self._descriptors.get(path)
        if descriptor is None:
            opened = os.open(path, os.O_RDONLY)
            descriptor = self._descriptors.setdefault(path, opened)
            if descriptor != opened:  # another thread was quicker
                os.close(opened)
        found = os.pread(descriptor, _CHUNK_BYTES, 0)
        while len(found) >= _PAGE_BYTES and (
            more := os.pread(descriptor, _CHUNK_BYTES, len(found))
        ):  # the kernel gives a page at a time, rounded down to whole lines
            found += more
        return found

    def close(self) -> None:
        """All of them."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
