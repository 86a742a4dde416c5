"""Linux: what the machine is made of, as its run.json tells."""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import platform
from pathlib import Path

_GPU_VENDORS = {"0x1002": "AMD", "0x10de": "NVIDIA", "0x8086": "Intel"}


def cpu_name() -> str:
    """The first processor's model name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()  # Arm kernels give no name


def gpus() -> list[str]:
    """Vendor and PCI ids of the display devices, and NVIDIA's own names."""
    found = []
    for card in sorted(Path("/sys/class/drm").glob("card[0-9]*")):
        try:
            vendor = (card / "device" / "vendor").read_text(encoding="ascii").strip()
            device = (card / "device" / "device").read_text(encoding="ascii").strip()
        except OSError:  # a connector, not a card
            continue
        found.append(f"{_GPU_VENDORS.get(vendor, vendor)} {device}")
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [line.removeprefix("Model:").strip() for line in lines if line.startswith("Model")]
    return list(dict.fromkeys(found))
