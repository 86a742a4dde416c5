"""Windows: GPUs from what the registry says of display adapters. Needs no Windows: tests run it.

The registry keeps adapters that are gone, so only those count that the device tree has. Sources:
learn.microsoft.com on the display class and on HardwareInformation.qwMemorySize.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from orchestrator.platforms.gpus.gpu import AMD_DEVICES, VENDORS, Gpu, Obstacle
from schemas.records import Accelerator

_PCI = re.compile(r"^PCI\\VEN_([0-9A-F]{4})&DEV_([0-9A-F]{4})", re.IGNORECASE)
HIP_LIBRARIES = ("amdhip64_7.dll", "amdhip64_6.dll")  # come with AMD's display driver
ADRENALIN = "install AMD Software: Adrenalin Edition (a laptop maker's own driver may lack it)"


def gpus_of(
    adapters: Iterable[Mapping[str, Any]], present: Collection[str], libraries: Collection[str]
) -> list[Gpu]:
    """adapters: values of each key below the display class. present: ids of devices that are there.

    libraries: names in System32, in small letters. A GPU of which there are two is told twice.
    """
    there = [match.group().upper() for one in present if (match := _PCI.match(one))]
    found = []
    for adapter in adapters:
        match = _PCI.match(str(adapter.get("MatchingDeviceId", "")))
        if match is None:  # Microsoft's basic display, a remote screen
            continue
        gpu = _gpu(adapter, int(match[1], 16), int(match[2], 16), libraries)
        found += [gpu] * there.count(match.group().upper())
        there = [one for one in there if one != match.group().upper()]
    return found


def _gpu(
    adapter: Mapping[str, Any], vendor_id: int, device_id: int, libraries: Collection[str]
) -> Gpu:
    vendor = VENDORS.get(vendor_id, f"{vendor_id:04x}")
    uses: dict[Accelerator, Obstacle | None] = {}
    target = None
    if vendor == "AMD":
        target, _ = AMD_DEVICES.get(device_id, (None, ""))
        uses["rocm"] = _rocm(target, libraries)
    if vendor == "NVIDIA":
        missing = Obstacle("nvcuda.dll is not there", "install NVIDIA's driver")
        uses["cuda"] = None if "nvcuda.dll" in libraries else missing
    no_directx = Obstacle("directml needs Direct3D 12", "update Windows and the display driver")
    uses["directml"] = None if "d3d12.dll" in libraries else no_directx
    no_vulkan = Obstacle("vulkan-1.dll is not there", "install the vendor's display driver")
    uses["vulkan"] = None if "vulkan-1.dll" in libraries else no_vulkan
    return Gpu(
        vendor=vendor,
        name=str(adapter.get("DriverDesc") or f"{vendor} GPU"),
        pci=f"{vendor_id:04x}:{device_id:04x}",
        target=target,
        driver=str(adapter["DriverVersion"]) if adapter.get("DriverVersion") else None,
        memory_bytes=_memory_bytes(adapter.get("HardwareInformation.qwMemorySize")),
        uses=uses,
    )


def _rocm(target: str | None, libraries: Collection[str]) -> Obstacle | None:
    if target is None:
        return Obstacle(
            "asrbench knows no ROCm build for this GPU on Windows",
            "report its PCI id and AMD's name for it (gfx...), as hipInfo.exe tells",
        )
    if not any(name in libraries for name in HIP_LIBRARIES):
        return Obstacle("AMD's driver has no HIP (amdhip64_7.dll)", ADRENALIN)
    return None


def _memory_bytes(value: Any) -> int | None:
    """A number, or eight bytes of one: drivers write either."""
    if isinstance(value, bytes) and len(value) == 8:
        return int.from_bytes(value, "little")
    return value if isinstance(value, int) and value > 0 else None
