"""Linux: the machine's state from /proc and /sys, some 45 small files on 16 cores.

A file that is missing, unreadable or odd is a counter that cannot be seen, never an error.
Sources: proc_stat(5), Documentation/accounting/psi.rst, admin-guide/cgroup-v2.rst and
arch/x86/kernel/cpu/mce/therm_throt.c of Linux.
"""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import functools
import os
import re
import time
from pathlib import Path

from orchestrator.platforms import cgroups
from orchestrator.platforms.machine_state import MachineState
from orchestrator.platforms.open_files import OpenFiles
from orchestrator.platforms.small_files import number_of, read_small

_SOME = re.compile(rb"^some .*\btotal=(\d{1,19})$", re.MULTILINE)
_CPU = re.compile(rb"^cpu(\d{1,9})((?: \d{1,19}){8,})$", re.MULTILINE)
_THROTTLED_UNIT_S = {b"throttled_usec": 1e-6, b"throttled_time": 1e-9}  # v2, v1
_MAINS = (b"Mains", b"USB")  # a laptop that is fed through USB-C may have no other


class MachineWatch:
    """The machine's counters, of which some are kept open between two looks."""

    def __init__(self, proc: Path = Path("/proc"), sysfs: Path = Path("/sys")) -> None:
        self._proc, self._sysfs = proc, sysfs
        self._kept = OpenFiles()

    def look(self) -> MachineState:
        """The state now. In a container, of the machine around it, as far as it is shown."""
        cpus = os.sched_getaffinity(0)
        busy_s, steal_s = _cpu_times(self._counter(f"{self._proc}/stat"), cpus)
        vmstat = self._counter(f"{self._proc}/vmstat")
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        waited = _SOME.search(self._counter(f"{self._proc}/pressure/memory"))
        times, counts = _throttle_files(self._sysfs)
        throttled_ms, throttles = _numbers(times), _numbers(counts)
        return MachineState(
            at_s=time.monotonic(),
            cpus=len(cpus),
            controller_cpu_s=time.process_time(),
            busy_s=busy_s,
            steal_s=steal_s,
            swapped_in_bytes=_times(number_of(b"pswpin", vmstat), page_bytes),
            swapped_out_bytes=_times(number_of(b"pswpout", vmstat), page_bytes),
            oom_kills=number_of(b"oom_kill", vmstat),
            memory_wait_s=int(waited[1]) * 1e-6 if waited else None,
            throttled_s=tuple(ms * 1e-3 for ms in throttled_ms) if throttled_ms else None,
            throttles=sum(throttles) if throttles else None,
            quota_wait_s=self._quota_wait_s(),
            power=_power(f"{self._sysfs}/class/power_supply"),
        )

    def close(self) -> None:
        """Give the files back."""
        self._kept.close()

    def _counter(self, path: str) -> bytes:
        """Of a file that stays as long as the machine, or as our cgroup; empty without one."""
        try:
            return self._kept.read(path)
        except OSError:
            return b""

    def _quota_wait_s(self) -> float | None:
        files = _quota_files(self._proc, self._counter(f"{self._proc}/self/cgroup"))
        found = [
            count * unit_s
            for text in map(self._counter, files)
            for name, unit_s in _THROTTLED_UNIT_S.items()
            if (count := number_of(name, text)) is not None
        ]
        return sum(found) if found else None


def _read(path: str) -> bytes:
    """Empty if it cannot be read."""
    try:
        return read_small(path)
    except OSError:
        return b""


def _numbers(files: tuple[str, ...]) -> list[int] | None:
    """What each file says; None if one of them says nothing (a CPU went offline)."""
    texts = [_read(file).strip() for file in files]
    if not texts or not all(text.isdigit() and len(text) < 20 for text in texts):
        return None
    return [int(text) for text in texts]


def _times(count: int | None, unit: int) -> int | None:
    return None if count is None else count * unit


def _cpu_times(stat: bytes, cpus: set[int]) -> tuple[float | None, float | None]:
    """Seconds of programs, and of steal, on these CPUs."""
    ticks = {
        int(number): [int(value) for value in values.split()]
        for number, values in _CPU.findall(stat.partition(b"\nintr ")[0])
    }
    if not cpus <= set(ticks):  # some containers number them anew
        return None, None
    second = os.sysconf("SC_CLK_TCK")
    busy = sum(sum(ticks[cpu][:3]) for cpu in cpus)  # user (guests too), nice, system
    return busy / second, sum(ticks[cpu][7] for cpu in cpus) / second


@functools.cache
def _throttle_files(sysfs: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Times of throttling by heat, and counts where there are no times (before Linux 5.6).

    All CPUs of a core, or of a package, get its interrupt and count the same: one is enough.
    """
    stems: dict[tuple[str, bytes], str] = {}
    for cpu in sorted((sysfs / "devices" / "system" / "cpu").glob("cpu[0-9]*")):
        for kind, siblings in (("core", "thread_siblings"), ("package", "core_siblings")):
            group = _read(f"{cpu}/topology/{siblings}") or cpu.name.encode()
            stem = cpu / "thermal_throttle" / f"{kind}_throttle"
            if Path(f"{stem}_count").exists():
                stems.setdefault((kind, group), str(stem))
    times = [f"{stem}_total_time_ms" for stem in stems.values()]
    if all(Path(file).exists() for file in times):
        return tuple(times), ()
    return (), tuple(f"{stem}_count" for stem in stems.values())


@functools.cache  # until we are moved; finding them anew takes longer than all the rest
def _quota_files(proc: Path, _memberships: bytes) -> tuple[str, ...]:
    """cpu.stat of our own cgroup and of those above it: any of them may have a CPU quota."""
    try:
        own = [folder for _, folder in cgroups.own_folders("cpu", proc / "self")]
    except ValueError:  # a line of another form
        return ()
    files = (place / "cpu.stat" for folder in own for place in (folder, *folder.parents))
    return tuple(str(file) for file in files if file.exists())


def _power(supplies: str) -> str | None:
    """AC or battery; None if this machine has no battery of its own.

    The mains' own word where there is one: asking a battery can take milliseconds.
    """
    mains, batteries = [], []
    try:
        names = sorted(os.listdir(supplies))  # noqa: PTH208 see small_files
    except OSError:
        return None
    for folder in (f"{supplies}/{name}" for name in names):
        kind = _read(f"{folder}/type").strip()
        if _read(f"{folder}/scope").strip() == b"Device":  # a mouse's or a headset's
            continue
        if kind in _MAINS:
            mains.append(folder)
        elif kind == b"Battery":
            batteries.append(folder)
    if not batteries:
        return None
    if mains:
        fed = any(_read(f"{folder}/online").strip() == b"1" for folder in mains)
    else:
        fed = not any(_read(f"{folder}/status").strip() == b"Discharging" for folder in batteries)
    return "AC" if fed else "battery"
