"""What goes on around an attempt: device memory, energy, what else the machine was busy with."""

from __future__ import annotations

import time
from typing import Any

from orchestrator.interference import disturbances, worker_cpu_s
from orchestrator.platforms import MachineWatch, devices
from orchestrator.supervisor.worker import Worker

# a compositor and a browser hold a few hundred MB; more is somebody who computes
OTHERS_HOLD_BYTES = 1_000_000_000
# the look after an attempt serves as the one before the next, if that follows at once
FRESH_S = 0.01


class Surroundings:
    """Of one worker, from when its model is loaded: an open driver would speed loading up."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._devices = devices.DeviceSampler(worker.pids, devices.device_sources())
        try:
            self._meter = devices.EnergyMeter(devices.energy_counters())
        except BaseException:  # no thread, below a limit of processes
            self._devices.close()
            raise
        self._energy = self._meter.read()
        self._watch = MachineWatch()
        self._cpu_s, self._machine = worker.cpu_s_by_pid(), self._watch.look()

    def begin(self) -> None:
        """An attempt starts."""
        self._devices.reset()
        self._energy = self._meter.read()
        if time.monotonic() - self._machine.at_s > FRESH_S:
            self._cpu_s, self._machine = self._worker.cpu_s_by_pid(), self._watch.look()

    def end(self) -> dict[str, Any]:
        """Fields of the attempt's record, and notes on what could not be seen."""
        cpu_before_s, before = self._cpu_s, self._machine
        self._cpu_s, self._machine = self._worker.cpu_s_by_pid(), self._watch.look()
        cpu_s = worker_cpu_s(cpu_before_s, self._cpu_s)
        held = self._devices.peaks()
        problems = (self._devices.problem(), self._meter.problem())
        return {
            "device_memory": held,
            "energy": devices.between(self._energy, self._meter.read()),
            "disturbed": (
                *disturbances(before, self._machine, cpu_s),
                *self._other_clients({one.device for one in held}),
            ),
            "notes": tuple(filter(None, problems)),
        }

    def close(self) -> None:
        """Let the drivers go."""
        self._devices.close()
        self._meter.close()
        self._watch.close()

    def _other_clients(self, used: set[str]) -> list[str]:
        if not used:
            return []
        return [
            f"{other.processes} other processes held {other.held_bytes / 1e6:.0f} MB of {device}"
            for device, other in self._devices.others().items()
            if device in used and other.held_bytes > OTHERS_HOLD_BYTES
        ]
