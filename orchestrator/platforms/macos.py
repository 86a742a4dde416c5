"""macOS: no counter for a tree, so memory is sampled; the host's own thread watches its parent."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import platform
import subprocess
import uuid
from pathlib import Path

import psutil

from orchestrator.platforms import psutil_trees
from orchestrator.platforms.posix import KILL_WAIT_S, Pipes, point_latest, venv_python
from orchestrator.platforms.sampling import Sampler
from schemas.records import MemoryPeak

__all__ = ["cpu_name", "gpus", "point_latest", "spawn", "venv_python"]

PERIOD_S = 0.05
TREE_MARK = "ASRBENCH_TREE"


class MacProcessTree(Pipes):
    """See platforms.ProcessTree."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._mark = uuid.uuid4().hex
        super().__init__(command, environment | {TREE_MARK: self._mark}, folder)
        self._sampler = Sampler(lambda: psutil_trees.look(self.pid), PERIOD_S)

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
