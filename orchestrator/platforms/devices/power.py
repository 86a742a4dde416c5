"""Energy where there is no counter: a power sensor, integrated over time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from orchestrator.platforms.devices.energy import Reading

PERIOD_S = 0.25
LONGEST_GAP_S = 1.0


class PowerIntegral:
    """Sums up a sensor's power, by the mean of two looks times what lies between them.

    Between two looks the sensor is not seen; drivers average over milliseconds to a second. The
    sum is begun anew after a gap: a card that sleeps cannot be asked, and a driver may hang.
    """

    def __init__(
        self,
        source: str,
        scope: Literal["package", "gpu"],
        method: str,
        watts: Callable[[], float],
    ) -> None:
        self._source = source
        self._scope = scope
        self._method = f"{method}-integrated-{PERIOD_S * 1e3:g}ms"
        self._watts = watts
        self._joules = 0.0
        self._began_s = 0.0
        self._last: tuple[float, float] | None = None  # time, power

    def readings(self) -> dict[str, Reading]:
        """The sum after one more look. OSError if the sensor cannot be read."""
        last, self._last = self._last, None
        watts, now_s = self._watts(), time.monotonic()
        self._last = now_s, watts
        if last is None or now_s - last[0] > LONGEST_GAP_S:
            self._joules, self._began_s = 0.0, now_s
        else:
            self._joules += (watts + last[1]) / 2 * (now_s - last[0])
        reading = Reading(self._scope, self._joules, now_s, None, self._method, self._began_s)
        return {self._source: reading}

    def close(self) -> None:
        """Nothing is held."""
