"""A cgroup of version 2. Source: Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import os
from pathlib import Path

from orchestrator.platforms.cgroup_folder import CgroupFolder
from orchestrator.platforms.sampling import Sample, charged_sample

METHOD = "cgroup-v2"

_CHARGES = (b"anon", b"file", b"shmem", b"file_mapped", b"pgfault", b"kernel")


class CgroupV2:
    """A memory cgroup with its counters: None, or nothing, once somebody has removed it."""

    method = METHOD

    def __init__(self, folder: Path) -> None:
        self.folder = CgroupFolder(folder)
        self._window: int | None = None  # fd: a reset holds for the file that it was written to

    def limit(self, limit_bytes: int) -> None:
        """Without swap; and at the limit the whole tree dies, not a part that others wait for."""
        self.folder.write("memory.max", str(limit_bytes))
        for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with contextlib.suppress(OSError):  # no swap accounting; Linux before 4.19
                self.folder.write(name, value)

    def peak_bytes(self) -> int | None:
        """Since the cgroup was made."""
        return self.folder.number("memory.peak")

    def window_peak_bytes(self) -> int | None:
        """Since the last begin_window(); None before Linux 6.12, which cannot count anew."""
        if self._window is None:
            return None
        try:
            return int(os.pread(self._window, 32, 0))
        except (OSError, ValueError):
            return None

    def begin_window(self) -> bool:
        """Count anew; False where the kernel cannot."""
        try:
            if self._window is None:
                self._window = os.open(self.folder.path / "memory.peak", os.O_RDWR | os.O_CLOEXEC)
            os.write(self._window, b"reset")
        except OSError:
            self._close_window()
            return False
        return True

    def oom_kills(self) -> int:
        """Processes that the kernel killed at the limit."""
        return self.folder.numbers("memory.events", b"oom_kill")[0] or 0

    def was_at_limit(self) -> bool:
        """Whether an allocation met the limit: then the peak is what fitted, not what was asked."""
        return (self.folder.numbers("memory.events", b"max")[0] or 0) > 0

    def cpu_s(self) -> float | None:
        """CPU time of all that ever ran in it."""
        used_us = self.folder.numbers("cpu.stat", b"usage_usec")[0]
        return None if used_us is None else used_us * 1e-6

    def look(self) -> Sample | None:
        """Anonymous and file-backed memory apart, page cache included."""
        anon, *others = self.folder.numbers("memory.stat", *_CHARGES)
        return None if anon is None else charged_sample(anon, *(other or 0 for other in others))

    def close(self) -> None:
        """Delete it."""
        self._close_window()
        self.folder.remove()

    def _close_window(self) -> None:
        if self._window is not None:
            os.close(self._window)
            self._window = None
