"""The machine's state by psutil, for Windows and macOS: CPU time and power.

Nothing else is to be had there. psutil's swap counters are always 0 on Windows, and on macOS they
count every page that is read from any file, a model's weights too.
"""

from __future__ import annotations

import os
import time

import psutil

from orchestrator.platforms.machine_state import MachineState


class MachineWatch:
    """The machine's counters; nothing is kept open here."""

    def look(self) -> MachineState:
        """The state now."""
        return MachineState(
            at_s=time.monotonic(),
            cpus=os.cpu_count() or 1,
            controller_cpu_s=time.process_time(),
            busy_s=_busy_s(),
            power=_power(),
        )

    def close(self) -> None:
        """Nothing to give back."""


def _busy_s() -> float | None:
    try:
        times = psutil.cpu_times()
    except (psutil.Error, OSError, RuntimeError):
        return None
    return float(times.user + times.system + getattr(times, "nice", 0.0))  # no nice on Windows


def _power() -> str | None:
    try:
        battery = psutil.sensors_battery()
    except (psutil.Error, OSError, RuntimeError):
        return None
    if battery is None or battery.power_plugged is None:
        return None
    return "AC" if battery.power_plugged else "battery"
