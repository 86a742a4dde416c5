"""Linux: energy counters and power sensors of packages and GPUs below /sys."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from orchestrator.platforms.devices.energy import Reading
from orchestrator.platforms.devices.power import PowerIntegral

Scope = Literal["package", "gpu"]


class SysfsCounter:
    """A file that counts microjoules."""

    def __init__(
        self, file: Path, source: str, scope: Scope, range_joules: float | None, method: str
    ) -> None:
        self._file = file
        self._source = source
        self._scope = scope
        self._range_joules = range_joules
        self._method = method

    def readings(self) -> dict[str, Reading]:
        """The counter now. OSError or ValueError if the file has no number."""
        joules = int(self._file.read_bytes()) / 1e6
        reading = Reading(self._scope, joules, time.monotonic(), self._range_joules, self._method)
        return {self._source: reading}

    def close(self) -> None:
        """Nothing is held."""


def package_counters(sys: Path = Path("/sys")) -> list[SysfsCounter]:
    """RAPL's domains of whole packages, on Intel and AMD; none where only root may read them.

    Not their parts (core, uncore, dram), not psys, which contains the package, and not the MMIO
    twin of a package, which is the same counter again. Source: the kernel's
    Documentation/power/powercap/powercap.rst.
    """
    found = []
    for zone in sorted((sys / "class" / "powercap").glob("intel-rapl:*")):
        name, file = _text_or_none(zone / "name"), zone / "energy_uj"
        whole = zone.name.count(":") == 1 and name is not None and name.startswith("package-")
        range_uj = _number_or_none(zone / "max_energy_range_uj")
        if name and whole and range_uj and _number_or_none(file) is not None:
            found.append(SysfsCounter(file, name, "package", range_uj / 1e6, "rapl"))
    return found


def gpu_counters(sys: Path = Path("/sys")) -> list[SysfsCounter]:
    """Intel cards with i915 or xe. xe has the card's as energy1, the package's as energy2."""
    return [
        SysfsCounter(file, source, "gpu", None, f"hwmon-{file.name}")
        for source, file in _gpu_sensors(sys, {"i915", "xe"}, ("energy1_input", "energy2_input"))
    ]


def gpu_powers(sys: Path = Path("/sys")) -> list[PowerIntegral]:
    """AMD GPUs with amdgpu, which has no counter. An APU's sensor measures the whole package.

    Source: the kernel's Documentation/gpu/amdgpu/thermal.rst.
    """
    found = []
    for source, file in _gpu_sensors(sys, {"amdgpu"}, ("power1_average", "power1_input")):
        # only APUs have a voltage of the northbridge
        is_apu = _text_or_none(file.with_name("in1_label")) == "vddnb"
        scope: Scope = "package" if is_apu else "gpu"
        found.append(PowerIntegral(source, scope, f"hwmon-{file.name}", _watts_of(file)))
    return found


def _gpu_sensors(sys: Path, drivers: set[str], names: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Driver with PCI address, and the first of these files that has a number."""
    found = []
    for folder in sorted((sys / "class" / "hwmon").glob("hwmon*")):
        driver = _text_or_none(folder / "name")
        files = [folder / name for name in names if _number_or_none(folder / name) is not None]
        if driver in drivers and files:
            found.append((f"{driver} {(folder / 'device').resolve().name}", files[0]))
    return found


def _watts_of(file: Path) -> Callable[[], float]:
    return lambda: int(file.read_bytes()) / 1e6


def _number_or_none(file: Path) -> int | None:
    try:
        return int(file.read_bytes())
    except (OSError, ValueError):
        return None


def _text_or_none(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
