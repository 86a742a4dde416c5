"""A thread that looks at a process tree's memory at a fixed period and keeps the highest values."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

CURVE_S = 10.0  # how much of the memory's course is kept
CURVE_STEP_S = 0.1
FRESH_S = 0.001  # a look takes half as long, and several figures are asked for at once


@dataclass(frozen=True)
class Sample:
    """One look at a tree. high_water is each living process's own kernel counter, by pid.

    others: resident memory of all processes but the largest, where they are only summed: at most
    so much counts more than once. proportional: of all, each shared page counted once; None where
    not measured.
    cache: page cache that no process maps, and so could be dropped. uncharged: pages of files that
    a process maps and that some other cgroup pays for. Of both, the least and the most that it can
    be: the kernel does not say how much of what is mapped is of files.
    """

    resident_bytes: int
    anon_bytes: int | None
    file_bytes: int | None
    high_water_bytes: dict[int, int]
    others_bytes: int = 0
    proportional_bytes: int | None = None
    cache_bytes: int = 0
    most_cache_bytes: int = 0
    largest_file_bytes: int = 0  # file-backed memory of the process that has most of it
    uncharged_bytes: int = 0
    most_uncharged_bytes: int = 0
    charged_bytes: int = 0  # all that a cgroup pays for, the kernel's own for it too
    page_faults: int = 0  # of all processes that ever were in a cgroup
    alone: bool = False  # it is known that no other process was there since the look before


@dataclass
class Peaks:
    """Highest values so far."""

    resident_bytes: int = 0
    others_bytes: int = 0
    proportional_bytes: int = 0
    anon_bytes: int | None = None
    file_bytes: int | None = None
    cache_bytes: int = 0
    most_cache_bytes: int = 0
    uncharged_bytes: int | None = None  # the lowest: what was there all the time
    most_uncharged_bytes: int = 0
    charged_bytes: int = 0
    needed_bytes: int = 0  # without page cache
    process_high_water_bytes: int = 0  # of the largest single process
    alone: bool = True  # at all looks; not if the last one found nothing
    pids: set[int] = field(default_factory=set)

    def raise_to(self, sample: Sample) -> None:
        """Take one look in."""
        self.pids.update(sample.high_water_bytes)
        self.alone = self.alone and sample.alone
        self.resident_bytes = max(self.resident_bytes, sample.resident_bytes)
        self.others_bytes = max(self.others_bytes, sample.others_bytes)
        self.proportional_bytes = max(self.proportional_bytes, sample.proportional_bytes or 0)
        self.anon_bytes = _highest(self.anon_bytes, sample.anon_bytes)
        self.file_bytes = _highest(self.file_bytes, sample.file_bytes)
        self.cache_bytes = max(self.cache_bytes, sample.cache_bytes)
        self.charged_bytes = max(self.charged_bytes, sample.charged_bytes)
        needed_bytes = sample.charged_bytes - sample.cache_bytes + sample.uncharged_bytes
        self.needed_bytes = max(self.needed_bytes, needed_bytes)
        self.most_cache_bytes = max(self.most_cache_bytes, sample.most_cache_bytes)
        uncharged = sample.uncharged_bytes
        self.uncharged_bytes = min(
            uncharged if self.uncharged_bytes is None else self.uncharged_bytes, uncharged
        )
        self.most_uncharged_bytes = max(self.most_uncharged_bytes, sample.most_uncharged_bytes)
        self.process_high_water_bytes = max(
            self.process_high_water_bytes, *sample.high_water_bytes.values(), 0
        )


class Sampler:
    """Calls look() each period_s until closed; look() gives None when nothing is there.

    Peaks are kept since the start, and since the last begin_window().
    """

    def __init__(self, look: Callable[[], Sample | None], period_s: float) -> None:
        self._look = look
        self._period_s = period_s
        self._total = Peaks()
        self._window = Peaks()
        self._curve: collections.deque[tuple[float, int]] = collections.deque()
        self._asked_at: float | None = None  # in this window
        self._seen: Collection[int] = ()  # processes, at the last look
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory sampler", daemon=True)
        self._thread.start()

    def peaks(self) -> Peaks:
        """The peaks since the start, with a look right now."""
        self._take_fresh()
        return self._total

    def window_peaks(self) -> Peaks:
        """The peaks since the last begin_window(), with a look right now."""
        self._take_fresh()
        return self._window

    def begin_window(self, reset: Callable[[], None] = lambda: None) -> None:
        """Count anew from here on. reset() is called between the last look and the next one."""
        self._take_fresh()
        with self._lock:
            reset()
            self._window = Peaks(pids=set(self._seen))  # who was there when it began counts too
            self._asked_at = None

    def curve(self) -> list[tuple[float, int]]:
        """Resident bytes of the last seconds: (seconds before now, bytes), oldest first."""
        now = time.monotonic()
        with self._lock:
            return [(round(now - at, 3), size) for at, size in self._curve if now - at <= CURVE_S]

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        self._take()
        while not self._stop.wait(self._period_s):
            self._take()

    def _take_fresh(self) -> None:
        """Unless somebody just asked; the thread's own look may be of before what they ask for."""
        if self._asked_at is None or time.monotonic() - self._asked_at >= FRESH_S:
            self._take()
            self._asked_at = time.monotonic()

    def _take(self) -> None:
        with self._lock:
            sample = self._look()
            if sample is None:
                self._total.alone = self._window.alone = False
                return
            self._seen = sample.high_water_bytes
            self._total.raise_to(sample)
            self._window.raise_to(sample)
            now = time.monotonic()
            if not self._curve or now - self._curve[-1][0] >= CURVE_STEP_S:
                self._curve.append((now, sample.resident_bytes))
            while self._curve[0][0] < now - CURVE_S:
                self._curve.popleft()


def charged_sample(
    anon: int, cache: int, shared: int, mapped: int, page_faults: int, kernel: int
) -> Sample:
    """What a cgroup's counters say: bytes, and a count.

    cache and mapped contain shared memory, of which nothing says how much is mapped.
    """
    file = cache - shared
    return Sample(
        anon + cache,
        anon + shared,
        file,
        {},
        cache_bytes=max(0, file - mapped),
        most_cache_bytes=file - max(0, mapped - shared),
        charged_bytes=anon + cache + kernel,
        page_faults=page_faults,
    )


def _highest(old: int | None, new: int | None) -> int | None:
    if new is None:
        return old
    return new if old is None else max(old, new)
