"""macOS: no counter for a tree, so memory is sampled; the host's own thread watches its parent."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import platform
import subprocess
import uuid
from collections.abc import Collection
from pathlib import Path

import psutil

from orchestrator.platforms import psutil_trees
from orchestrator.platforms.posix import (
    KILL_WAIT_S,
    NOBODY_READS,
    Pipes,
    point_latest,
    quoted,
    venv_python,
)
from orchestrator.platforms.psutil_state import MachineWatch
from orchestrator.platforms.sampling import Peaks, Sample, Sampler
from schemas.records import MemoryPeak

__all__ = [
    "NOBODY_READS",
    "MachineWatch",
    "cpu_name",
    "kernel_lines",
    "leave_to_guardian",
    "memory_counter",
    "point_latest",
    "quoted",
    "spawn",
    "venv_python",
]

PERIOD_S = 0.05
METHOD = "rss-sum-50ms"
TREE_MARK = "ASRBENCH_TREE"


class MacProcessTree(Pipes):
    """See platforms.ProcessTree."""

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: Path,
        memory_limit_bytes: int | None = None,
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._limit_bytes = memory_limit_bytes
        self._over: int | None = None  # what the tree held when we ended it
        super().__init__(command, environment | {TREE_MARK: self._mark}, folder)
        self._sampler = Sampler(self._look, PERIOD_S)

    def memory(self) -> MemoryPeak | None:
        """Highest sampled sum of resident memory over the tree."""
        return _peak(self._sampler.peaks())

    def begin_memory_window(self) -> None:
        """A new phase begins."""
        self._sampler.begin_window()

    def memory_window(self) -> MemoryPeak | None:
        """The same for this phase."""
        return _peak(self._sampler.window_peaks())

    def memory_curve(self) -> list[tuple[float, int]]:
        """Resident memory in the last seconds."""
        return self._sampler.curve()

    def out_of_memory(self) -> str | None:
        """Only our own limit is known of here."""
        if self._over is None:
            return None
        return (
            f"the process tree held {self._over / 1e6:.0f} MB, over the limit of "
            f"{(self._limit_bytes or 0) / 1e6:.0f} MB, and was ended by asrbench (sampled)"
        )

    def pids(self) -> list[int]:
        """Of the tree."""
        return psutil_trees.pids(self.pid)

    def cpu_s_by_pid(self) -> dict[int, float]:
        """Of the living processes of the tree."""
        return psutil_trees.cpu_s_by_pid(self.pid)

    def kill(self) -> str | None:
        """The process group, every known descendant, and whoever carries the tree's mark."""
        try:
            descendants = psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            descendants = []
        self.kill_group()
        # a child may have left the group and lost its parent, but it kept its environment
        for process in [*descendants, *psutil_trees.processes_with(TREE_MARK, self._mark)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.wait(KILL_WAIT_S) is None:
            return f"process {self.pid} cannot be killed"
        return None

    def close(self) -> str | None:
        """Kill what is left and give everything back."""
        left = self.kill()
        self._sampler.close()
        self.close_pipes()
        return left

    def _look(self) -> Sample | None:
        sample = psutil_trees.look(self.pid)
        if sample and self._limit_bytes and sample.resident_bytes > self._limit_bytes:
            self._over = self._over or sample.resident_bytes
            self.kill_group()
        return sample


def _peak(peaks: Peaks) -> MemoryPeak | None:
    if not peaks.pids:
        return None
    return MemoryPeak(
        peak_bytes=peaks.resident_bytes,
        method=METHOD,
        bound=psutil_trees.bound_of_sum(peaks),
        resident_bytes=peaks.resident_bytes,
    )


def spawn(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    memory_limit_bytes: int | None = None,
) -> MacProcessTree:
    """Start a process tree."""
    return MacProcessTree(command, environment, folder, memory_limit_bytes)


def kernel_lines(pids: Collection[int], since: float) -> list[str]:
    """Not read on this system."""
    return []


def leave_to_guardian(folder: Path) -> None:
    """There is none here: a killed controller's folder stays where the system cleans up."""


def worker_network(python: Path) -> str:
    """asrbench closes it on Linux only."""
    return "open"


def system_libraries() -> tuple[Path, ...]:
    """Folders of the system's own libraries."""
    return (Path("/usr/lib"), Path("/System"), Path("/Library/Apple"))


def configured_libraries() -> tuple[Path, ...]:
    """Folders of the usual package managers, of which a Python may be a part."""
    return (Path("/opt/homebrew"), Path("/opt/local"), Path("/usr/local"))


def memory_counter() -> str:
    """There is but one."""
    return METHOD


def cpu_name() -> str:
    """The chip's name."""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10, check=False)
    return done.stdout.strip() or platform.machine()
