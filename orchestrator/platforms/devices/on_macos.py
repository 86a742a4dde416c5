"""macOS: none. No documented counter tells a process's GPU memory; on Apple silicon it is RAM."""

from __future__ import annotations

from orchestrator.platforms.devices.clients import Source
from orchestrator.platforms.devices.meter import Counters


def device_sources() -> tuple[Source, ...]:
    """Empty: there is no way to look."""
    return ()


def energy_counters() -> tuple[Counters, ...]:
    """Empty: powermetrics needs root."""
    return ()
