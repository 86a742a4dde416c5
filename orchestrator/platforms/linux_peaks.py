"""Linux: which of three sources tells a tree's peak, and which way that may be wrong.

The highest is reported, with its name:

cgroup   counts the tree and misses no spike, but charges a page to whoever touched it first. Files
         that were cached before are missing: what of them was mapped all the time is added, and of
         several processes it is a lower bound. Page cache that nobody needs is in it, which may
         make it too high; so of a tree of one it counts only where a look saw something else
vmhwm    each process's own high-water mark: exact for a tree of one. That it is one, the page
         faults tell that the cgroup counts; without a cgroup a daemon may have come and gone. If
         the cgroup counted more than it and the page cache that was seen, that was most likely
         page cache too, dropped before a look; but as it may have been a file in memory: lower.
         (A file in memory that nobody maps and no look sees, in a phase with as much page cache at
         another time, is the one thing that "exact" does not cover.)
pss-sum  sampled, each shared page counted once: for trees of several where the others fall short
"""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import os

from orchestrator.platforms.sampling import Peaks
from schemas.records import Bound, MemoryPeak

NEGLIGIBLE = 0.02  # of a peak
# each CPU charges 64 pages ahead, and tells of as many with a delay (mm/memcontrol.c)
UNSETTLED_BYTES = 2 * 64 * os.sysconf("SC_PAGE_SIZE") * (os.cpu_count() or 1)


def peak_of(peaks: Peaks, counted: int | None, counter: str, cut: bool) -> MemoryPeak | None:
    """What looks at a tree, and its cgroup's counter of bytes with that name, amount to.

    cut: a limit kept the tree from what it asked for. None if nothing was seen.
    """
    high_water = peaks.process_high_water_bytes
    sources = {"vmhwm": high_water, "pss-sum": peaks.proportional_bytes}
    uncharged = peaks.uncharged_bytes or 0
    alone = len(peaks.pids) == 1 and peaks.alone
    if counted is not None and not (alone and _is_within(peaks.needed_bytes, high_water)):
        sources[counter] = counted + uncharged
    method = max(sources, key=lambda name: sources[name])
    if not sources[method]:
        return None
    bound: Bound = "lower"
    if method == counter and not cut:
        bound = _bound_of_cgroup(sources[counter], peaks, alone)
    elif method == "vmhwm" and alone and not cut:
        without_cache = (counted or 0) + peaks.most_uncharged_bytes - peaks.cache_bytes
        seen = max(without_cache, peaks.needed_bytes)
        bound = "exact" if _is_within(seen, high_water) else "lower"
    return MemoryPeak(
        peak_bytes=sources[method],
        method=method,
        bound=bound,
        cgroup_bytes=counted,
        uncharged_bytes=uncharged if counted is not None else None,
        high_water_bytes=high_water or None,
        proportional_bytes=peaks.proportional_bytes or None,
        resident_bytes=peaks.resident_bytes,
        anon_bytes=peaks.anon_bytes,
        file_bytes=peaks.file_bytes,
    )


def _bound_of_cgroup(peak_bytes: int, peaks: Peaks, alone: bool) -> Bound:
    missing = peaks.most_uncharged_bytes - (peaks.uncharged_bytes or 0)
    # what other processes had mapped of warm files between two looks, nobody counts
    more = not alone or missing > NEGLIGIBLE * peak_bytes
    # the looks may have missed what it was made of: page cache that came and went between two
    seen = peaks.charged_bytes + (peaks.uncharged_bytes or 0) + UNSETTLED_BYTES
    less = max(peak_bytes - seen, peaks.most_cache_bytes) > NEGLIGIBLE * peak_bytes
    if more and less:
        return "unknown"
    return "lower" if more else "upper" if less else "exact"


def _is_within(size: int, high_water: int) -> bool:
    """Whether a process had so much, but for what the kernel holds for it."""
    return size <= high_water * (1 + NEGLIGIBLE) + UNSETTLED_BYTES
