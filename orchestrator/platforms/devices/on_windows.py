"""Windows: the system's counters; NVIDIA's library for cards that are no display adapters."""

from __future__ import annotations

import os
import sys
from pathlib import Path

assert sys.platform == "win32"

from orchestrator.platforms.devices.clients import Source
from orchestrator.platforms.devices.meter import Counters
from orchestrator.platforms.devices.nvml import Nvml
from orchestrator.platforms.devices.windows_counters import WindowsCounters, adapter_names


def device_sources() -> tuple[Source, ...]:
    """The counters where DirectX knows an adapter, and NVIDIA's library where it is installed.

    A card that the counters see has no memory of processes in NVIDIA's library, and one in compute
    mode (TCC) is not in the counters, so no card is in both.
    """
    found: list[Source] = []
    if adapter_names():
        found.append(WindowsCounters())
    if _has_nvidia():
        found.append(Nvml())
    return tuple(found)


def energy_counters() -> tuple[Counters, ...]:
    """NVIDIA's. Windows' own Energy Metering Interface is not read."""
    return (Nvml(),) if _has_nvidia() else ()


def _has_nvidia() -> bool:
    return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvml.dll").exists()
