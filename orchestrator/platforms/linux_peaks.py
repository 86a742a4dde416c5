"""Linux: which of three sources tells a tree's peak, and which way that may be wrong.

The highest is reported, with its name:

cgroup   counts the tree and misses no spike, but charges a page to whoever touched it first. Files
         that were cached before are missing: what of them was mapped all the time is added, and of
         several processes it is a lower bound. Page cache that nobody needs is in it, which may
         make it too high; it is left out if vmhwm is exact and page cache is all that it has more
vmhwm    each process's own high-water mark: exact for a tree of one. That it is one, the page
         faults tell that the cgroup counts; without a cgroup a daemon may have come and gone
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
    if counted is not None:
        beyond = counted + uncharged - high_water
        if not (alone and _is_page_cache(beyond, peaks)):
            sources[counter] = counted + uncharged
    method = max(sources, key=lambda name: sources[name])
    if not sources[method]:
        return None
    return MemoryPeak(
        peak_bytes=sources[method],
        method=method,
        bound="lower" if cut else _bound(method, sources[method], peaks, alone),
        cgroup_bytes=counted,
        uncharged_bytes=uncharged if counted is not None else None,
        high_water_bytes=high_water or None,
        proportional_bytes=peaks.proportional_bytes or None,
        resident_bytes=peaks.resident_bytes,
        anon_bytes=peaks.anon_bytes,
        file_bytes=peaks.file_bytes,
    )


def _bound(method: str, peak_bytes: int, peaks: Peaks, alone: bool) -> Bound:
    """alone: a tree of one living process, of which the kernel tells the exact peak."""
    if method == "pss-sum":
        return "lower"
    if method == "vmhwm":
        return "exact" if alone else "lower"
    missing = peaks.most_uncharged_bytes - (peaks.uncharged_bytes or 0)
    # what other processes had mapped of warm files between two looks, nobody counts
    more = not alone or missing > NEGLIGIBLE * peak_bytes
    # the looks may have missed what it was made of: page cache that came and went between two
    seen = peaks.charged_bytes + (peaks.uncharged_bytes or 0) + UNSETTLED_BYTES
    less = max(peak_bytes - seen, peaks.most_cache_bytes) > NEGLIGIBLE * peak_bytes
    if more and less:
        return "unknown"
    return "lower" if more else "upper" if less else "exact"


def _is_page_cache(beyond: int, peaks: Peaks) -> bool:
    """Whether what a cgroup counts beyond a process's own peak is cache that could be dropped."""
    kernels_own = NEGLIGIBLE * peaks.process_high_water_bytes
    return beyond <= peaks.cache_bytes + kernels_own + UNSETTLED_BYTES
