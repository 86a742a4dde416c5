"""Reads the energy counters of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

from orchestrator.platforms.devices.driver_thread import DriverThread
from orchestrator.platforms.devices.energy import Reading
from orchestrator.platforms.devices.power import PERIOD_S, PowerIntegral

READ_WAIT_S = 2.0


class Counters(Protocol):
    """One way to ask about energy. Making one touches no driver."""

    def readings(self) -> dict[str, Reading]:
        """By the counter's name. May raise anything and may hang, as drivers do."""
        ...

    def close(self) -> None:
        """Give the driver's handles back."""
        ...


class EnergyMeter:
    """Asks on a thread of its own; without any counter there is no thread and no reading.

    The thread wakes each 250 ms only where power is integrated, else only to be asked.
    """

    def __init__(self, counters: Sequence[Counters]) -> None:
        self._counters = counters
        self._integrals = [one for one in counters if isinstance(one, PowerIntegral)]
        self._problem: str | None = None
        self._thread = None
        if counters:
            period_s = PERIOD_S if self._integrals else None
            self._thread = DriverThread("energy meter", period_s, self._integrate)

    def read(self) -> dict[str, Reading]:
        """All counters now, for between(); what gives no answer in READ_WAIT_S is missing."""
        if self._thread is None:
            return {}
        try:
            found, self._problem = self._thread.ask(lambda: _read(self._counters), READ_WAIT_S)
        except TimeoutError as error:
            self._problem = f"energy: {error}"
            return {}
        return found

    def problem(self) -> str | None:
        """Why something is missing in what read() gave; None if nothing is."""
        return self._problem

    def close(self) -> None:
        """Stop integrating and let the drivers go."""
        if self._thread is not None:
            self._thread.close(self._close)

    def _integrate(self) -> None:
        _read(self._integrals)

    def _close(self) -> None:
        for one in self._counters:
            with contextlib.suppress(Exception):
                one.close()


def _read(counters: Sequence[Counters]) -> tuple[dict[str, Reading], str | None]:
    found: dict[str, Reading] = {}
    problem = None
    for one in counters:
        try:
            found |= one.readings()
        except Exception as error:  # noqa: BLE001 - a driver's binding may raise anything
            problem = f"energy: {error}"
    return found, problem
