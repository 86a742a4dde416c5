"""A cgroup of version 1. Source: Documentation/admin-guide/cgroup-v1/memory.rst."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
from pathlib import Path

from orchestrator.platforms.cgroup_folder import CgroupFolder
from orchestrator.platforms.sampling import Sample, charged_sample

METHOD = "cgroup-v1"

_CHARGES = (b"total_rss", b"total_cache", b"total_shmem", b"total_mapped_file", b"total_pgfault")


class CgroupV1:
    """See CgroupV2, which has the same methods."""

    method = METHOD

    def __init__(self, folder: Path) -> None:
        self.folder = CgroupFolder(folder)
        self._limit_bytes: int | None = None
        self._before = 0  # highest of the windows that ended

    def limit(self, limit_bytes: int) -> None:
        """Memory, and memory with swap: what is swapped out would only look small."""
        self.folder.write("memory.limit_in_bytes", str(limit_bytes))
        self._limit_bytes = int(self.folder.read("memory.limit_in_bytes"))  # whole pages
        with contextlib.suppress(OSError):  # the kernel may not account for swap
            self.folder.write("memory.memsw.limit_in_bytes", str(limit_bytes))

    def peak_bytes(self) -> int | None:
        """Since the cgroup was made."""
        window = self.window_peak_bytes()
        return None if window is None else max(self._before, window)

    def window_peak_bytes(self) -> int | None:
        """Since the last begin_window()."""
        return self.folder.number("memory.max_usage_in_bytes")

    def begin_window(self) -> bool:
        """Count anew; False where the kernel cannot."""
        self._before = self.peak_bytes() or self._before
        try:
            self.folder.write("memory.max_usage_in_bytes", "0")
        except OSError:
            return False
        return True

    def oom_kills(self) -> int:
        """Processes that the kernel killed at the limit."""
        return self.folder.numbers("memory.oom_control", b"oom_kill")[0] or 0

    def was_at_limit(self) -> bool:
        """Whether an allocation met the limit: then the peak is what fitted, not what was asked."""
        # memory.failcnt stays at 0 where the limit with swap is the same, and is met first
        return self._limit_bytes is not None and (self.peak_bytes() or 0) >= self._limit_bytes

    def cpu_s(self) -> float | None:
        """Not known: CPU time is counted by another hierarchy."""
        return None

    def look(self) -> Sample | None:
        """Anonymous and file-backed memory apart, page cache included."""
        anon, *others = self.folder.numbers("memory.stat", *_CHARGES)
        others.append(self.folder.number("memory.kmem.usage_in_bytes"))
        return None if anon is None else charged_sample(anon, *(other or 0 for other in others))

    def close(self) -> None:
        """Delete it."""
        self.folder.remove()
