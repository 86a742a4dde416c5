"""macOS: no counter for a tree, so memory is sampled; the host's own thread watches its parent."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import platform
import subprocess
from pathlib import Path

import psutil

from orchestrator.platforms import psutil_memory
from orchestrator.platforms.posix import KILL_WAIT_S, Pipes, point_latest, venv_python
from orchestrator.platforms.sampling import Sampler
from schemas.records import MemoryPeak

__all__ = ["cpu_name", "gpus", "point_latest", "spawn", "venv_python"]

PERIOD_S = 0.05


class MacProcessTree(Pipes):
    """See platforms.ProcessTree."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        super().__init__(command, environment, folder)
        self._sampler = Sampler(lambda: psutil_memory.look(self.pid), PERIOD_S)

    def memory(self) -> MemoryPeak | None:
        """Highest sampled sum of resident memory over the tree."""
        peaks = self._sampler.peaks()
        if not peaks.processes:
            return None
        return MemoryPeak(
            peak_bytes=peaks.resident_bytes,
            method="rss-sum-50ms",
            resident_bytes=peaks.resident_bytes,
        )

    def kill(self) -> None:
        """The process group and every known descendant."""
        try:
            descendants = psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:
            descendants = []
        self.kill_group()
        for process in descendants:
            try:
                process.kill()
            except psutil.Error:
                continue
        self.wait(KILL_WAIT_S)

    def close(self) -> None:
        """Kill what is left and give everything back."""
        self.kill()
        self._sampler.close()
        self.close_pipes()


def spawn(command: list[str], environment: dict[str, str], folder: Path) -> MacProcessTree:
    """Start a process tree."""
    return MacProcessTree(command, environment, folder)


def cpu_name() -> str:
    """The chip's name."""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10, check=False)
    return done.stdout.strip() or platform.machine()


def gpus() -> list[str]:
    """Apple silicon has one, on the chip."""
    return ["Apple GPU"] if platform.machine() == "arm64" else []
