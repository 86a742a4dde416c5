"""Process trees by psutil, for platforms without a cheap way of their own."""

from __future__ import annotations

import psutil

from orchestrator.platforms.sampling import Sample


def look(root: int) -> Sample | None:
    """Resident memory of the process and its descendants; pages that they share count twice.

    On Windows psutil also knows each process's own peak, kept by the kernel.
    """
    try:
        parent = psutil.Process(root)
        processes = [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return None
    resident, high_water = 0, {}
    for process in processes:
        try:
            memory = process.memory_info()
        except psutil.Error:  # ended while we looked
            continue
        resident += memory.rss
        high_water[process.pid] = getattr(memory, "peak_wset", memory.rss)
    return Sample(resident, None, None, high_water) if high_water else None


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
