"""What can be known of a GPU from outside, without a driver's library and without torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.records import Accelerator

VENDORS = {0x1002: "AMD", 0x10DE: "NVIDIA", 0x8086: "Intel"}
# PCI device ids of AMD → what builds are made for, where no driver tells it (Windows), and names
# that the system does not know. Source: pci.ids; gfx targets: SUPPORTED_GPUS.md of ROCm/TheRock.
AMD_DEVICES = {
    0x1586: ("gfx1151", "Radeon 8060S (Strix Halo)"),
    0x747E: ("gfx1101", "Radeon RX 7700 XT / 7800 XT"),
}


@dataclass(frozen=True)
class Obstacle:
    """What keeps this user from using a GPU, and what would help."""

    what: str
    fix: str


@dataclass(frozen=True)
class Gpu:
    """One that is built in.

    target: what builds are made for, as gfx1151. uses: each accelerator that such a GPU has, and
    what is in its way here; None where nothing is.
    """

    vendor: str
    name: str
    pci: str | None = None  # vendor:device, in hex
    target: str | None = None
    driver: str | None = None
    memory_bytes: int | None = None  # its own; an APU's is a part of the RAM
    uses: dict[Accelerator, Obstacle | None] = field(default_factory=dict)


def gfx_target(version: int) -> str:
    """gfx1151 of 110501. Source: gfx_target_version in the kernel's kfd_topology.c."""
    major, minor, stepping = version // 10_000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{stepping:x}"
