"""Linux: DRM's fdinfo, ROCm's compute driver, NVIDIA's library; RAPL and hwmon for energy."""

from __future__ import annotations

import sys
from pathlib import Path

assert sys.platform not in ("win32", "darwin")

from orchestrator.platforms.devices.clients import Source
from orchestrator.platforms.devices.drm import DrmFdinfo
from orchestrator.platforms.devices.kfd import Kfd
from orchestrator.platforms.devices.meter import Counters
from orchestrator.platforms.devices.nvml import Nvml
from orchestrator.platforms.devices.sysfs_energy import gpu_counters, gpu_powers, package_counters


def device_sources(root: Path = Path("/")) -> tuple[Source, ...]:
    """Those whose driver is loaded; empty on a machine without a device."""
    found: list[Source] = []
    if any((root / "dev" / "dri").glob("*[0-9]")):
        found.append(DrmFdinfo(root / "proc"))
    if (root / "sys" / "class" / "kfd" / "kfd" / "proc").is_dir():
        found.append(Kfd(root / "proc", root / "sys"))
    if _has_nvidia(root):
        found.append(Nvml())
    return tuple(found)


def energy_counters(root: Path = Path("/")) -> tuple[Counters, ...]:
    """Those that this user may read."""
    sysfs = root / "sys"
    found: list[Counters] = [
        *package_counters(sysfs),
        *gpu_counters(sysfs),
        *gpu_powers(sysfs),
    ]
    if _has_nvidia(root):
        found.append(Nvml())
    return tuple(found)


def _has_nvidia(root: Path) -> bool:
    return (root / "dev" / "nvidiactl").exists()
