"""Linux: memory of GPU buffers by /proc/PID/fdinfo, where amdgpu, i915, xe and others tell it.

Source: the kernel's Documentation/gpu/drm-usage-stats.rst. What is counted is resident memory:
`drm-resident-*`, else its old name `drm-memory-*` (amdgpu prints both: never added), else, from
drivers that know no better, the requested `drm-total-*`. The vendor's own keys (`amd-requested-*`,
`amd-evicted-*`) say what was asked for, not what is there, and are not read.

An APU's or integrated GPU's buffers are all in a region of system memory (gtt, system0); a card's
are in vram or local, so all regions count. Only amdgpu has some that are no memory of the device
(doorbells, on-chip pools, buffers that were evicted to the CPU).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.platforms.devices.clients import Client

_IDENTITY = re.compile(rb"^drm-(driver|pdev|client-id):[ \t]*(\S+)[ \t]*$", re.MULTILINE)
# not drm-total-cycles-ENGINE, which xe prints and which is time
_SIZE = re.compile(
    rb"^drm-(resident|memory|total|shared)-(?!cycles-)([^\s:]+):"
    rb"[ \t]*(\d{1,19})(?:[ \t]+(KiB|MiB))?[ \t]*$",
    re.MULTILINE,
)
_UNITS = {b"": 1, b"KiB": 1 << 10, b"MiB": 1 << 20}
_ONLY_REGIONS = {"amdgpu": {b"vram", b"gtt"}}


class DrmFdinfo:
    """See clients.Source. Sees this user's processes; root sees all."""

    method = "drm-fdinfo"

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def clients(self, pids: Iterable[int] | None) -> list[Client]:
        """Open DRM files; one that was inherited or duplicated is one client of several pids."""
        found: dict[tuple[str, str], Client] = {}
        for pid in _all_pids(self._proc) if pids is None else pids:
            for text in _fdinfos(f"{self._proc}/{pid}"):
                parsed = _parse(text)
                if parsed is None:
                    continue
                client_id, device, held_bytes, shared_bytes = parsed
                known = found.get((device, client_id))
                holders = (known.pids if known else frozenset()) | {pid}
                found[device, client_id] = Client(device, holders, held_bytes, shared_bytes)
        return list(found.values())

    def close(self) -> None:
        """Nothing is held."""


def _all_pids(proc: Path) -> Iterator[int]:
    return (int(folder.name) for folder in proc.iterdir() if folder.name.isdecimal())


def _fdinfos(process: str) -> Iterator[bytes]:
    """What the kernel tells about each open DRM file; others are told by their link alone.

    By os and not by Path, which takes three times as long: this is most of what a look costs.
    """
    try:
        numbers = os.listdir(f"{process}/fd")  # noqa: PTH208
    except OSError:  # ended, or another user's
        return
    for number in numbers:
        try:
            if os.readlink(f"{process}/fd/{number}").startswith("/dev/dri/"):  # noqa: PTH115
                yield Path(f"{process}/fdinfo/{number}").read_bytes()
        except OSError:  # closed while we looked
            continue


def _parse(text: bytes) -> tuple[str, str, int, int] | None:
    """Client id, device, bytes held, and how many of them may be others' too."""
    identity = {key: value.decode("ascii", "replace") for key, value in _IDENTITY.findall(text)}
    driver, client_id = identity.get(b"driver"), identity.get(b"client-id")
    if driver is None or client_id is None:  # it could not be told from its duplicates
        return None
    only = _ONLY_REGIONS.get(driver)
    sums: dict[bytes, int] = {}
    for kind, region, number, unit in _SIZE.findall(text):
        if only is None or region in only:
            sums[kind] = sums.get(kind, 0) + int(number) * _UNITS[unit]
    for kind in (b"resident", b"memory", b"total"):
        if kind in sums:
            held_bytes = sums[kind]
            shared_bytes = min(sums.get(b"shared", 0), held_bytes)
            return client_id, identity.get(b"pdev", driver), held_bytes, shared_bytes
    return None  # this driver, or this kernel, tells no memory
