"""NVIDIA on Linux and Windows, by its management library; the only module that knows pynvml.

Old Linux drivers give the host's process ids to a container too: its workers are not found then,
and there is no number. On Windows a display driver (WDDM) names the processes without their memory;
windows_counters has it. Memory that CUDA migrates between host and card (cudaMallocManaged) is in
no process's number.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from orchestrator.platforms.devices.clients import Client
from orchestrator.platforms.devices.energy import Reading


class Nvml:
    """See clients.Source; a source of energy readings too. Loads the driver when first asked."""

    method = "nvml"

    def __init__(self) -> None:
        self._handles: dict[str, Any] | None = None  # by PCI address

    def clients(self, pids: Iterable[int] | None) -> list[Client]:
        """One for each process and GPU, of all users."""
        return [
            Client(device, frozenset({pid}), held_bytes)
            for device, handle in self._open().items()
            for pid, held_bytes in _processes(handle).items()
        ]

    def readings(self) -> dict[str, Reading]:
        """Energy of each GPU since its driver was loaded; from Volta on."""
        import pynvml

        found = {}
        for device, handle in self._open().items():
            try:
                millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            except pynvml.NVMLError_NotSupported:
                continue
            name = f"{pynvml.nvmlDeviceGetName(handle)} ({device})"
            found[name] = Reading("gpu", millijoules / 1e3, time.monotonic(), None, "nvml")
        return found

    def close(self) -> None:
        """Let the driver go, if it was loaded: a GPU may then sleep again."""
        import pynvml

        if self._handles is not None:
            self._handles = None
            pynvml.nvmlShutdown()

    def _open(self) -> dict[str, Any]:
        import pynvml  # 35 ms, and only a machine with this driver comes here

        if self._handles is None:
            pynvml.nvmlInit()
            try:
                count = pynvml.nvmlDeviceGetCount()
                handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
                self._handles = {_address(handle): handle for handle in handles}
            except BaseException:
                pynvml.nvmlShutdown()
                raise
        return self._handles


def _address(handle: Any) -> str:
    import pynvml

    place = pynvml.nvmlDeviceGetPciInfo(handle)
    return f"{place.domain:04x}:{place.bus:02x}:{place.device:02x}.0"


def _processes(handle: Any) -> dict[int, int]:
    """Pid → bytes. A process that computes and draws is in both lists, with all of it in each."""
    import pynvml

    found: dict[int, int] = {}
    for running in (
        pynvml.nvmlDeviceGetComputeRunningProcesses,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        try:
            processes = running(handle)
        except pynvml.NVMLError_NotSupported:  # virtual GPUs draw nothing
            continue
        for process in processes:
            held_bytes = process.usedGpuMemory or 0  # None under WDDM
            found[process.pid] = max(held_bytes, found.get(process.pid, 0))
    return found
