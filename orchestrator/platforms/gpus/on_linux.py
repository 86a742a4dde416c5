"""Linux: GPUs from /sys and /proc, and whether this user may open their device files.

Sources: drivers/gpu/drm/amd/amdkfd/kfd_topology.c, Documentation/gpu/amdgpu/driver-misc.rst,
/proc/driver/nvidia of NVIDIA's driver, and the Vulkan loader's LoaderDriverInterface.md.
"""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.platforms.gpus.gpu import AMD_DEVICES, VENDORS, Gpu, Obstacle, gfx_target

_CARD = re.compile(r"card(\d{1,6})")  # card0-DP-1 is a connector
_PROPERTY = re.compile(r"^(\w+) (\d{1,20})$", re.MULTILINE)
_NVIDIA_VERSION = re.compile(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")
_MANIFESTS = ("usr/share/vulkan/icd.d", "usr/local/share/vulkan/icd.d", "etc/vulkan/icd.d")
_VULKAN_DRIVERS = {
    "AMD": ("radeon", "amd"),
    "NVIDIA": ("nvidia", "nouveau"),
    "Intel": ("intel",),
}
JOIN_GROUPS = "sudo usermod -aG render,video $USER, then log in again"
GIVE_AMD = "in a container: start it with --device /dev/kfd --device /dev/dri"
GIVE_NVIDIA = "run nvidia-modprobe -u -c 0; in a container: start it with --gpus all"


def _may_open(file: Path) -> bool:
    return os.access(file, os.R_OK | os.W_OK)


def find_gpus(root: Path = Path("/"), may_open: Callable[[Path], bool] = _may_open) -> list[Gpu]:
    """All that can compute, in the kernel's order; empty in a machine without any."""
    machine = _Machine(root, may_open)
    found = []
    for folder in (root / "sys/class/drm").glob("card*"):
        number = _CARD.fullmatch(folder.name)
        card = _card(folder) if number else None
        if number and card:
            found.append((int(number[1]), machine.gpu(card)))
    gpus = [gpu for _, gpu in sorted(found, key=lambda one: one[0]) if gpu]
    if not any(gpu.vendor == "NVIDIA" for gpu in gpus):  # containers have no DRM node
        gpus += machine.nvidia_without_card() or machine.nvidia_of_windows()
    return gpus


@dataclass(frozen=True)
class _Card:
    """A display device."""

    folder: Path  # /sys/class/drm/card0/device
    vendor_id: int
    device_id: int
    render: str | None  # renderD128

    @property
    def vendor(self) -> str:
        return VENDORS.get(self.vendor_id, f"{self.vendor_id:04x}")

    @property
    def pci(self) -> str:
        return f"{self.vendor_id:04x}:{self.device_id:04x}"

    @property
    def driver(self) -> str | None:
        return _link(self.folder / "driver")


def _card(folder: Path) -> _Card | None:
    device = folder / "device"
    vendor_id, device_id = _hex(device / "vendor"), _hex(device / "device")
    if vendor_id is None or device_id is None:
        return None
    nodes = sorted(node.name for node in (device / "drm").glob("renderD*"))
    return _Card(device, vendor_id, device_id, nodes[0] if nodes else None)


@dataclass(frozen=True)
class _Machine:
    root: Path
    may_open: Callable[[Path], bool]

    def gpu(self, card: _Card) -> Gpu | None:
        if card.vendor == "AMD":
            return self._amd(card)
        if card.vendor == "NVIDIA":
            return self._nvidia(card)
        if card.render is None:  # a server's board controller
            return None
        name = f"{card.vendor} GPU {card.pci}"
        return Gpu(
            card.vendor, name, card.pci, driver=card.driver, uses={"vulkan": self._vulkan(card)}
        )

    def nvidia_without_card(self) -> list[Gpu]:
        folders = sorted((self.root / "proc/driver/nvidia/gpus").glob("*"))
        return [
            Gpu(
                "NVIDIA",
                _nvidia_name(folder) or "NVIDIA GPU",
                driver=self._nvidia_version(),
                uses={"cuda": self._cuda(None)},
            )
            for folder in folders
        ]

    def nvidia_of_windows(self) -> list[Gpu]:
        """In WSL the driver is that of Windows, and no node tells of the GPU but /dev/dxg."""
        library = self.root / "usr/lib/wsl/lib/libcuda.so.1"
        if not (self.root / "dev/dxg").exists() or not library.exists():
            return []
        return [Gpu("NVIDIA", "NVIDIA GPU of Windows", uses={"cuda": None})]

    def _amd(self, card: _Card) -> Gpu:
        target, name = AMD_DEVICES.get(card.device_id, (None, f"AMD GPU {card.pci}"))
        version = self._compute_targets().get(card.render)
        return Gpu(
            card.vendor,
            name,
            card.pci,
            gfx_target(version) if version else target,
            card.driver,
            _number(card.folder / "mem_info_vram_total"),
            {"rocm": self._rocm(version), "vulkan": self._vulkan(card)},
        )

    def _nvidia(self, card: _Card) -> Gpu:
        address = _link(card.folder) or ""
        named = _nvidia_name(self.root / "proc/driver/nvidia/gpus" / address)
        return Gpu(
            card.vendor,
            named or f"NVIDIA GPU {card.pci}",
            card.pci,
            driver=self._nvidia_version() or card.driver,
            uses={"cuda": self._cuda(card.driver), "vulkan": self._vulkan(card)},
        )

    def _compute_targets(self) -> dict[str | None, int]:
        """gfx_target_version by render node; a CPU is a node as well, of target 0."""
        found = {}
        for file in (self.root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties"):
            properties = {key: int(value) for key, value in _PROPERTY.findall(_text(file))}
            if properties.get("gfx_target_version"):
                minor = properties.get("drm_render_minor")
                found[f"renderD{minor}" if minor else None] = properties["gfx_target_version"]
        return found

    def _rocm(self, version: int | None) -> Obstacle | None:
        if version is None:
            return Obstacle(
                "the kernel's driver offers no compute for it (no node in /sys/class/kfd)",
                "boot a kernel whose amdgpu has CONFIG_HSA_AMD",
            )
        return self._closed("dev/kfd", GIVE_AMD, JOIN_GROUPS)

    def _cuda(self, driver: str | None) -> Obstacle | None:
        if self._nvidia_version() is None:
            which = f"the driver is {driver}" if driver else "it has no driver"
            return Obstacle(f"{which}, not NVIDIA's own", "install NVIDIA's driver")
        ask = "ask who runs this machine"
        control = self._closed("dev/nvidiactl", GIVE_NVIDIA, ask)
        return control or self._closed("dev/nvidia-uvm", GIVE_NVIDIA, ask)

    def _vulkan(self, card: _Card) -> Obstacle | None:
        if card.render is None:
            return Obstacle("its kernel driver has no render node", "install the vendor's driver")
        closed = self._closed(f"dev/dri/{card.render}", GIVE_AMD, JOIN_GROUPS)
        if closed:
            return closed
        folders = (self.root / folder for folder in _MANIFESTS)
        names = [file.name for folder in folders for file in folder.glob("*.json")]
        if any(name.startswith(_VULKAN_DRIVERS.get(card.vendor, ())) for name in names):
            return None
        return Obstacle(
            f"there is no Vulkan driver for {card.vendor}",
            "install the vendor's, or Mesa's: mesa-vulkan-drivers, on Arch vulkan-radeon",
        )

    def _closed(self, device: str, to_get: str, to_open: str) -> Obstacle | None:
        file = self.root / device
        try:
            there = file.exists()
        except OSError:  # a folder above it is closed
            return Obstacle(f"this user may not look for /{device}", to_open)
        if not there:
            return Obstacle(f"there is no /{device}", to_get)
        if not self.may_open(file):
            return Obstacle(f"this user may not open /{device}", to_open)
        return None

    def _nvidia_version(self) -> str | None:
        module = _text(self.root / "sys/module/nvidia/version").strip()
        found = _NVIDIA_VERSION.search(_text(self.root / "proc/driver/nvidia/version"))
        return module or (found[1] if found else None)


def _nvidia_name(folder: Path) -> str | None:
    for line in _text(folder / "information").splitlines():
        if line.startswith("Model:"):
            return line.removeprefix("Model:").strip()
    return None


def _link(file: Path) -> str | None:
    """Name of what a link points to; None if it is none, or leads nowhere."""
    try:
        return file.resolve(strict=True).name if file.is_symlink() else None
    except (OSError, RuntimeError):  # the latter: links that lead in a circle
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _hex(file: Path) -> int | None:
    try:
        return int(_text(file).strip(), 16)
    except ValueError:
        return None


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
