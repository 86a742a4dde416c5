"""Linux: memory that ROCm's compute driver handed out, by /sys/class/kfd.

Which is the truth, this or drm-fdinfo? A HIP process gives its DRM file to the compute driver, so
on current kernels its buffers are in both; fdinfo also has pinned host memory, page tables and
Vulkan buffers, and is the larger. Before Linux 5.19 fdinfo has no keys that can be read, and there
are reports of compute buffers that it missed: then this one is the larger. Each can only miss
buffers, so the larger counts (clients.device_memory), and they are never added.

vram_GPUID counts what was asked for as VRAM, also on an APU, where it lies in gtt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from orchestrator.platforms.devices.clients import Client

_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
_PROPERTY = re.compile(r"^(domain|location_id) (\d{1,10})$", re.MULTILINE)


class Kfd:
    """See clients.Source. Sees all users' processes."""

    method = "kfd"

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc = proc
        self._kfd = sys / "class" / "kfd" / "kfd"
        self._devices: dict[int, str] = {}

    def clients(self, pids: Iterable[int] | None) -> list[Client]:
        """One for each process and GPU."""
        # its pids are the host's: in a container another process could have one of ours
        namespace = (self._proc / "self" / "ns" / "pid").readlink().name
        if namespace != _INITIAL_PID_NAMESPACE:
            return []
        self._devices = self._devices or _devices(self._kfd / "topology" / "nodes")
        found = []
        if pids is None:
            folders = [
                folder for folder in _children(self._kfd / "proc") if folder.name.isdecimal()
            ]
        else:
            folders = [self._kfd / "proc" / str(pid) for pid in pids]
        for folder in folders:
            for gpu_id, device in self._devices.items():
                held_bytes = _number(folder / f"vram_{gpu_id}")
                if held_bytes is not None:
                    found.append(Client(device, frozenset({int(folder.name)}), held_bytes))
        return found

    def close(self) -> None:
        """Nothing is held."""


def _devices(nodes: Path) -> dict[int, str]:
    """GPU id → PCI address; a CPU is a node with the id 0."""
    found = {}
    for node in _children(nodes):
        gpu_id = _number(node / "gpu_id")
        if not gpu_id:
            continue
        try:
            text = (node / "properties").read_text(encoding="ascii", errors="replace")
        except OSError:  # not for us: a container sees only its own GPUs
            continue
        fields = {name: int(value) for name, value in _PROPERTY.findall(text)}
        domain, place = fields.get("domain", 0), fields.get("location_id", 0)
        # bus, device and function: 8, 5 and 3 bits
        found[gpu_id] = f"{domain:04x}:{place >> 8 & 255:02x}:{place >> 3 & 31:02x}.{place & 7}"
    return found


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _number(file: Path) -> int | None:
    try:
        return max(0, int(file.read_bytes()))
    except (OSError, ValueError):
        return None
