"""Linux: memory by cgroup where one can be made, else by /proc; the tree killed by all means."""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import contextlib
import fcntl
import os
import platform
import signal
import time
import uuid
from dataclasses import replace
from pathlib import Path

from orchestrator.platforms import cgroups, procfs
from orchestrator.platforms.posix import KILL_WAIT_S, Pipes, point_latest, venv_python
from orchestrator.platforms.sampling import Sample, Sampler
from schemas.records import MemoryPeak

__all__ = ["cpu_name", "gpus", "point_latest", "spawn", "venv_python"]

# the kernel counts exactly with a cgroup, and sampling only splits that number: seldom is enough
PERIOD_WITH_CGROUP_S = 0.25
PERIOD_WITHOUT_S = 0.01

PIPE_BYTES = 1 << 18  # one block of audio fits, so its writer need not wait for its reader
TREE_MARK = "ASRBENCH_TREE"
KILL_ROUNDS = 100  # for processes that fork while they are killed

_PID_NAMESPACE = Path("/proc/self/ns/pid")
# process ids mean nothing in another container
_OWNER = f"{_PID_NAMESPACE.readlink().name if _PID_NAMESPACE.exists() else 'pid'}-"
_GPU_VENDORS = {"0x1002": "AMD", "0x10de": "NVIDIA", "0x8086": "Intel"}


class LinuxProcessTree(Pipes):
    """See platforms.ProcessTree."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._cgroup = cgroups.make_cgroup()
        _kill_abandoned()
        self._mark = f"{_OWNER}{os.getpid()}-{uuid.uuid4().hex}"
        try:
            super().__init__(command, environment | {TREE_MARK: self._mark}, folder)
        except OSError:
            if self._cgroup:
                self._cgroup.remove()
            raise
        with contextlib.suppress(OSError):  # the system's default serves too
            fcntl.fcntl(self._stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        if self._cgroup:
            try:
                self._cgroup.add(self.pid)
            except OSError:  # it may be made but not entered: /proc serves then
                self._cgroup.remove()
                self._cgroup = None
        period_s = PERIOD_WITH_CGROUP_S if self._cgroup else PERIOD_WITHOUT_S
        self._sampler = Sampler(self._look, period_s)

    def memory(self) -> MemoryPeak | None:
        """Peak of the tree since the spawn.

        The cgroup counts a page for whoever touched it first, so mapped weights that were cached
        before are missing in it; the largest process's own high-water mark corrects that.
        """
        peaks = self._sampler.peaks()
        if not peaks.process_high_water_bytes:
            return None
        high_water = (peaks.process_high_water_bytes, "vmhwm")
        if self._cgroup:
            counted = self._cgroup.peak_bytes()
            peak_bytes, method = max((counted, self._cgroup.method), high_water)
        elif peaks.processes == 1:
            counted, (peak_bytes, method) = None, high_water
        else:
            counted = None
            peak_bytes, method = max((peaks.resident_bytes, "rss-sum-10ms"), high_water)
        return MemoryPeak(
            peak_bytes=peak_bytes,
            method=method,
            cgroup_bytes=counted,
            resident_bytes=peaks.resident_bytes,
            anon_bytes=peaks.anon_bytes,
            file_bytes=peaks.file_bytes,
        )

    def kill(self) -> None:
        """The cgroup, the process group, and whoever carries the tree's mark."""
        if self._cgroup:
            self._cgroup.kill()
        self.kill_group()
        # a child may have left the group and lost its parent, but it kept its environment
        for _ in range(KILL_ROUNDS):
            escaped = [pid for pid, value in procfs.marked(TREE_MARK) if value == self._mark]
            for pid in escaped:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if not escaped:
                break
            time.sleep(0.01)
        self.wait(KILL_WAIT_S)

    def close(self) -> None:
        """Kill what is left and give everything back."""
        self.kill()
        self._sampler.close()
        if self._cgroup:
            self._cgroup.remove()
        self.close_pipes()

    def _pids(self) -> list[int]:
        return self._cgroup.pids() if self._cgroup else procfs.tree_pids(self.pid)

    def _look(self) -> Sample | None:
        sample = procfs.look(self._pids())
        charged = self._cgroup.look() if self._cgroup else None
        if sample is None or charged is None:
            return sample
        # the cgroup's split counts a page that forks share once
        return replace(sample, anon_bytes=charged.anon_bytes, file_bytes=charged.file_bytes)


def _kill_abandoned() -> None:
    """End what outlived an earlier controller that was killed: grandchildren get no signal then."""
    for pid, value in procfs.marked(TREE_MARK):
        owner = value.removeprefix(_OWNER).split("-")[0]
        ours = value.startswith(_OWNER) and owner.isdigit()
        if ours and not Path(f"/proc/{owner}").exists():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def spawn(command: list[str], environment: dict[str, str], folder: Path) -> LinuxProcessTree:
    """Start a process tree. Call from the main thread: PDEATHSIG is sent when that thread ends."""
    return LinuxProcessTree(command, environment, folder)


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
