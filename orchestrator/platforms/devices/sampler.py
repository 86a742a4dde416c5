"""Looks at device memory of a process tree at a fixed period and keeps the highest values."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from orchestrator.platforms.devices.clients import (
    Held,
    Others,
    Source,
    device_memory,
    keep_larger,
    other_clients,
)
from orchestrator.platforms.devices.driver_thread import DriverThread
from schemas.records import DeviceMemory

T = TypeVar("T")

PERIOD_S = 0.25
LOOK_WAIT_S = 2.0


class DeviceSampler:
    """Peaks since the last reset(). Without any source there is no thread and never a peak.

    Nothing here raises, and nothing waits longer than LOOK_WAIT_S; problem() says what was missed.
    Drivers are loaded on the thread, at the first look.
    """

    def __init__(self, pids: Callable[[], list[int]], sources: Sequence[Source]) -> None:
        """pids gives the tree's processes now; it is called on the sampler's thread."""
        self._pids = pids
        self._sources = sources
        self._lock = threading.Lock()
        self._peaks: dict[str, Held] = {}
        self._problem: str | None = None
        self._thread = DriverThread("device sampler", PERIOD_S, self._look) if sources else None

    def reset(self) -> None:
        """Begin anew: an attempt starts."""
        with self._lock:
            self._peaks, self._problem = {}, None

    def peaks(self) -> tuple[DeviceMemory, ...]:
        """The highest memory of each device, with one more look right now."""
        self._ask(self._look)
        with self._lock:
            return tuple(
                DeviceMemory(
                    device=device,
                    peak_bytes=peak.held_bytes,
                    method=f"{peak.method}-{PERIOD_S * 1e3:g}ms",
                )
                for device, peak in sorted(self._peaks.items())
            )

    def others(self) -> dict[str, Others]:
        """Who besides the tree holds device memory now, by device."""
        return self._ask(lambda: other_clients(self._sources, self._pids())) or {}

    def problem(self) -> str | None:
        """Why peaks may be missing or too low since the last reset(); None if nothing is."""
        with self._lock:
            return self._problem

    def close(self) -> None:
        """Stop looking and let the drivers go."""
        if self._thread is not None:
            self._thread.close(self._close)

    def _look(self) -> None:
        with self._lock:
            peaks = self._peaks  # reset() makes a new one: a look belongs to when it began
        try:
            pids = self._pids()
        except Exception as error:  # noqa: BLE001 - the tree may be gone in any way
            self._note(f"process tree: {error}")
            return
        for source in self._sources if pids else ():
            try:
                looked = device_memory([source], pids)
            except Exception as error:  # noqa: BLE001 - a driver's binding may raise anything
                self._note(f"{source.method}: {error}")
                continue
            with self._lock:
                for device, held in looked.items():
                    keep_larger(peaks, device, held)

    def _ask(self, call: Callable[[], T]) -> T | None:
        if self._thread is None:
            return None
        try:
            return self._thread.ask(call, LOOK_WAIT_S)
        except Exception as error:  # noqa: BLE001 - the driver's, or TimeoutError
            self._note(str(error))
            return None

    def _note(self, problem: str) -> None:
        with self._lock:
            self._problem = f"device memory: {problem}"

    def _close(self) -> None:
        for source in self._sources:
            with contextlib.suppress(Exception):
                source.close()
