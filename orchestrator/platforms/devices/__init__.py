"""Memory and energy of accelerators, seen from outside; the ways that this platform has.

device_sources()     ways to ask who holds device memory → DeviceSampler, device_memory
energy_counters()    ways to ask about energy → EnergyMeter
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from orchestrator.platforms.devices.on_windows import device_sources, energy_counters
elif sys.platform == "darwin":
    from orchestrator.platforms.devices.on_macos import device_sources, energy_counters
else:
    from orchestrator.platforms.devices.on_linux import device_sources, energy_counters

from orchestrator.platforms.devices.clients import device_memory, other_clients
from orchestrator.platforms.devices.energy import between
from orchestrator.platforms.devices.meter import EnergyMeter
from orchestrator.platforms.devices.sampler import DeviceSampler

__all__ = [
    "DeviceSampler",
    "EnergyMeter",
    "between",
    "device_memory",
    "device_sources",
    "energy_counters",
    "other_clients",
]
