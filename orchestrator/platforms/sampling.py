"""A thread that looks at a process tree's memory at a fixed period and keeps the highest values."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """One look at a tree. high_water is each living process's own kernel counter, by pid."""

    resident_bytes: int
    anon_bytes: int | None
    file_bytes: int | None
    high_water_bytes: dict[int, int]


@dataclass
class Peaks:
    """Highest values so far."""

    resident_bytes: int = 0
    anon_bytes: int | None = None
    file_bytes: int | None = None
    processes: int = 0
    process_high_water_bytes: int = 0  # of the largest single process


class Sampler:
    """Calls look() each period_s until closed; look() gives None when nothing is there."""

    def __init__(self, look: Callable[[], Sample | None], period_s: float) -> None:
        self._look = look
        self._period_s = period_s
        self._peaks = Peaks()
        self._pids: set[int] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory sampler", daemon=True)
        self._thread.start()

    def peaks(self) -> Peaks:
        """The peaks with one more look right now."""
        self._take()
        return self._peaks

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self._take()

    def _take(self) -> None:
        sample = self._look()
        if sample is None:
            return
        with self._lock:
            peaks = self._peaks
            self._pids.update(sample.high_water_bytes)
            peaks.processes = len(self._pids)
            peaks.resident_bytes = max(peaks.resident_bytes, sample.resident_bytes)
            peaks.anon_bytes = _highest(peaks.anon_bytes, sample.anon_bytes)
            peaks.file_bytes = _highest(peaks.file_bytes, sample.file_bytes)
            peaks.process_high_water_bytes = max(
                peaks.process_high_water_bytes, *sample.high_water_bytes.values(), 0
            )


def _highest(old: int | None, new: int | None) -> int | None:
    if new is None:
        return old
    return new if old is None else max(old, new)
