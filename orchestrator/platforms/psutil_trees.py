"""Process trees by psutil, for platforms without a cheap way of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psutil

from orchestrator.platforms.sampling import Peaks, Sample
from schemas.records import Bound

NEGLIGIBLE = 0.02  # of a peak


def look(root: int) -> Sample | None:
    """Resident memory of the process and its descendants; pages that they share count twice."""
    return look_at(pids(root))


def look_at(pids: Iterable[int]) -> Sample | None:
    """The same of these processes. On Windows psutil also knows each one's own peak."""
    resident, high_water = [], {}
    for pid in pids:
        try:
            memory = psutil.Process(pid).memory_info()
        except psutil.Error:  # ended while we looked
            continue
        resident.append(memory.rss)
        high_water[pid] = _peak(memory)
    if not resident:
        return None
    whole = sum(resident)
    return Sample(whole, None, None, high_water, others_bytes=whole - max(resident))


def bound_of_sum(peaks: Peaks) -> Bound:
    """Sampled, so it may have been more; what several processes share was counted for each."""
    return "unknown" if peaks.others_bytes > NEGLIGIBLE * peaks.resident_bytes else "lower"


def pids(root: int) -> list[int]:
    """The process and its living descendants."""
    try:
        parent = psutil.Process(root)
        return [root, *(child.pid for child in parent.children(recursive=True))]
    except psutil.Error:
        return []


def cpu_s_by_pid(root: int) -> dict[int, float]:
    """CPU seconds of the process and its living descendants; what has ended is lost."""
    found: dict[int, float] = {}
    for pid in pids(root):
        try:
            times = psutil.Process(pid).cpu_times()
        except psutil.Error:  # ended while we looked
            continue
        found[pid] = times.user + times.system
    return found if root in found else {}


def processes_with(name: str, value: str) -> list[psutil.Process]:
    """Processes of this user that were started with this variable in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(name) == value:
                found.append(process)
        except (psutil.Error, OSError):  # another user's, or ended while we looked
            continue
    return found


def _peak(memory: Any) -> int:
    """The kernel's counter, where there is one. psutil 8 warns of the older name."""
    for name in ("peak_rss", "peak_wset"):
        peak: int | None = getattr(memory, name, None)
        if peak is not None:
            return peak
    return int(memory.rss)
