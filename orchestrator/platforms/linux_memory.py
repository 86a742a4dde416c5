"""Linux: a tree's memory from the kernel's counters, and the limit on it."""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import time
from collections.abc import Callable
from dataclasses import replace

from orchestrator.platforms import linux_peaks, procfs
from orchestrator.platforms.cgroups import MemoryCgroup
from orchestrator.platforms.kernel_log import kernel_lines
from orchestrator.platforms.proportional import ProportionalMemory
from orchestrator.platforms.sampling import FRESH_S, Peaks, Sample, Sampler
from schemas.records import MemoryPeak, peak_of_both

# the kernel counts exactly with a cgroup, and sampling only splits that number: seldom is enough
PERIOD_WITH_CGROUP_S = 0.25
PERIOD_WITHOUT_S = 0.01
OUT_OF_MEMORY = "out of memory"  # the kernel's words
FAULTS_IN_FLIGHT = 4  # a process that becomes a program has a hundred


class LinuxMemory:
    """One tree's memory. on_limit ends the tree: for where no cgroup keeps the limit.

    faults_before: page faults that the first process had when it entered the cgroup.
    """

    def __init__(
        self,
        pid: int,
        cgroup: MemoryCgroup | None,
        limit_bytes: int | None,
        on_limit: Callable[[], None],
        faults_before: int | None,
    ) -> None:
        self._pid = pid
        self._cgroup = cgroup
        self._limit_bytes = limit_bytes
        self._on_limit = on_limit
        self._uncounted_faults = faults_before
        self._over: int | None = None  # what the tree held when we ended it
        self._ended: MemoryPeak | None = None  # the highest of the windows that ended
        self._window: MemoryPeak | None = None  # as it was just now
        self._window_at: float | None = None
        self._proportional = ProportionalMemory()
        self._since = time.monotonic()
        self._kills_before = 0  # this window began; a worker may outlive its child
        self._windows = cgroup.begin_window() if cgroup else True
        period_s = PERIOD_WITH_CGROUP_S if cgroup else PERIOD_WITHOUT_S
        self._sampler = Sampler(self._look, period_s)

    def total(self) -> MemoryPeak | None:
        """Since the spawn."""
        counted = self._cgroup.peak_bytes() if self._cgroup else None
        whole = self._peak(self._sampler.peaks(), counted, self._oom_kills() > 0)
        windows = peak_of_both(self._ended, self.window())
        return max(filter(None, (windows, whole)), key=lambda peak: peak.peak_bytes, default=None)

    def window(self) -> MemoryPeak | None:
        """Since the last begin_window()."""
        if self._window_at is None or time.monotonic() - self._window_at >= FRESH_S:
            self._window = self._window_now()
            self._window_at = time.monotonic()
        return self._window

    def _window_now(self) -> MemoryPeak | None:
        counted = self._cgroup.window_peak_bytes() if self._cgroup and self._windows else None
        killed = self._oom_kills() > self._kills_before
        return self._peak(self._sampler.window_peaks(), counted, killed)

    def begin_window(self) -> None:
        """Count anew: a new phase begins."""
        self._ended = peak_of_both(self._ended, self.window())
        since, kills = time.monotonic(), self._oom_kills()
        if procfs.state(self._pid) not in (None, "Z"):  # else its death is still to be explained
            self._since, self._kills_before = since, kills

        def reset() -> None:
            procfs.reset_high_water(self.pids())
            self._proportional.forget()
            if self._cgroup and self._windows:
                self._windows = self._cgroup.begin_window()

        self._sampler.begin_window(reset)
        self._window_at = None

    def curve(self) -> list[tuple[float, int]]:
        """See Sampler."""
        return self._sampler.curve()

    def out_of_memory(self) -> str | None:
        """Evidence that the tree met its limit in this window, and a process died of it."""
        if self._over is not None:
            return (
                f"the process tree held {_mb(self._over)}, over the limit of "
                f"{_mb(self._limit_bytes)}, and was ended by asrbench (sampled, no cgroup here)"
            )
        kills = self._oom_kills() - self._kills_before
        if kills:
            limit = "" if self._limit_bytes is None else f" of {_mb(self._limit_bytes)}"
            return f"the kernel killed it at the memory limit{limit} (oom_kill {kills})"
        for line in kernel_lines({self._pid, *self._sampler.window_peaks().pids}, self._since):
            if OUT_OF_MEMORY in line.lower():
                return f"the kernel killed it because the machine ran out of memory: {line}"
        return None

    def pids(self) -> list[int]:
        """Of the tree, as far as they are known."""
        return self._members() or procfs.tree_pids(self._pid)

    def _members(self) -> list[int]:
        """Of the cgroup; somebody may have moved them out of it."""
        return self._cgroup.folder.pids() if self._cgroup else []

    def _oom_kills(self) -> int:
        return self._cgroup.oom_kills() if self._cgroup else 0

    def close(self) -> None:
        """Stop looking."""
        self._sampler.close()

    def _peak(self, peaks: Peaks, counted: int | None, killed: bool) -> MemoryPeak | None:
        """killed: the kernel killed a process at a limit, which may be that of a cgroup above."""
        cut = killed or self._over is not None or self._was_at_limit()
        return linux_peaks.peak_of(peaks, counted, self._cgroup.method if self._cgroup else "", cut)

    def _was_at_limit(self) -> bool:
        if self._limit_bytes is None or self._cgroup is None:
            return False
        return self._cgroup.was_at_limit()

    def _look(self) -> Sample | None:
        members = self._members()
        pids = members or procfs.tree_pids(self._pid)
        sample = procfs.look(pids)
        if sample is None:
            return None
        charged = self._cgroup.look() if self._cgroup else None
        if len(sample.high_water_bytes) > 1 and self._falls_short(sample, charged):
            sample = replace(sample, proportional_bytes=self._proportional.seldom(pids))
        if charged is not None:
            # the cgroup's split counts a page that forks share once
            mapped_bytes = _mapped(charged)
            sample = replace(
                sample,
                anon_bytes=charged.anon_bytes,
                file_bytes=charged.file_bytes,
                charged_bytes=charged.charged_bytes,
                alone=self._is_alone(charged) and self._pid in members,
                cache_bytes=charged.cache_bytes,
                most_cache_bytes=charged.most_cache_bytes,
                uncharged_bytes=max(0, sample.largest_file_bytes - mapped_bytes[1]),
                # several processes may map different files, or the same
                most_uncharged_bytes=max(0, (sample.file_bytes or 0) - mapped_bytes[0]),
            )
        self._enforce(sample)
        return sample

    def _is_alone(self, charged: Sample) -> bool:
        """Whether the first process had every page fault that its cgroup counted since a look.

        A process without a page fault has no memory. The kernel counts with a delay, so one
        of less than 64 pages a CPU may not be seen (memcg_rstat_updated in mm/memcontrol.c). The
        first process's own are read last, and so are too few only by those that its threads are
        having: the kernel counts a fault for the cgroup just before it does for the thread. (Before
        Linux 6.4 it counts one that it has to retry twice: a tree may wrongly be none of one then.)
        """
        own, before = procfs.page_faults(self._pid), self._uncounted_faults
        if own is None or before is None:
            return False
        uncounted = own - charged.page_faults
        if uncounted >= before - FAULTS_IN_FLIGHT:
            return True
        self._uncounted_faults = uncounted
        return False

    def _falls_short(self, sample: Sample, charged: Sample | None) -> bool:
        """Whether several processes hold pages that no cgroup's counter will tell of."""
        if charged is None or not self._windows:
            return True
        missing = (sample.file_bytes or 0) - (charged.file_bytes or 0)
        return missing > linux_peaks.NEGLIGIBLE * sample.resident_bytes

    def _enforce(self, sample: Sample) -> None:
        """The limit where no cgroup keeps it."""
        if self._limit_bytes is None or self._cgroup or self._over is not None:
            return
        if sample.resident_bytes <= self._limit_bytes:
            return
        held = sample.resident_bytes
        if len(sample.high_water_bytes) > 1:  # what forks share was counted for each
            held = self._proportional.now(self.pids()) or 0
        if held > self._limit_bytes:
            self._over = held
            self._on_limit()


def _mapped(charged: Sample) -> tuple[int, int]:
    """Of files, in bytes: at least, at most."""
    file = charged.file_bytes or 0
    return file - charged.most_cache_bytes, file - charged.cache_bytes


def _mb(size: int | None) -> str:
    return f"{(size or 0) / 1e6:.0f} MB"
