"""What both versions of cgroups share: a folder with processes in it."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.platforms.open_files import OpenFiles
from orchestrator.platforms.small_files import number_of, read_small, write_small

EMPTYING_S = 2.0


@dataclass(frozen=True)
class CgroupFolder:
    """One cgroup that was made for one worker."""

    path: Path
    _counters: OpenFiles = field(default_factory=OpenFiles)

    def read(self, name: str) -> str:
        """One of its counters."""
        return self._counters.read(f"{self.path}/{name}").decode("ascii")

    def write(self, name: str, value: str) -> None:
        """Into one of its files."""
        write_small(f"{self.path}/{name}", value.encode("ascii"))

    def numbers(self, name: str, *keys: bytes) -> list[int | None]:
        """Of a file with a key and a number on each line; None for what cannot be read."""
        try:
            text = self._counters.read(f"{self.path}/{name}")
        except OSError:
            text = b""
        return [number_of(key, text) for key in keys]

    def number(self, name: str) -> int | None:
        """A file that is one number; None if it cannot be read: somebody may have removed all."""
        try:
            return int(self.read(name))
        except (OSError, ValueError):
            return None

    def pids(self) -> list[int]:
        """Every process in it, also those that left their session or lost their parent."""
        try:
            pids = (int(pid) for pid in read_small(f"{self.path}/cgroup.procs").split())
            return [pid for pid in pids if pid > 0]  # 0 stands for another container's process
        except OSError:
            return []

    def kill(self) -> None:
        """SIGKILL to every process in it, again while they fork."""
        if (self.path / "cgroup.kill").exists():  # v2 from Linux 5.14
            with contextlib.suppress(OSError):  # somebody removed it
                self.write("cgroup.kill", "1")
        limit = time.monotonic() + EMPTYING_S
        stopped = set[int]()
        # who stands still forks no more, and keeps its place below a limit of processes
        while (fresh := set(self.pids()) - stopped) and time.monotonic() < limit:
            _signal(fresh, signal.SIGSTOP)
            stopped |= fresh
        _signal(self.pids(), signal.SIGKILL)  # even if time stood still for us
        limit = time.monotonic() + EMPTYING_S
        while (pids := self.pids()) and time.monotonic() < limit:
            _signal(pids, signal.SIGKILL)
            time.sleep(0.005)

    def remove(self) -> None:
        """Delete it; a process in uninterruptible sleep may keep it from being deleted."""
        self._counters.close()
        limit = time.monotonic() + EMPTYING_S
        while self.path.exists():
            try:
                self.path.rmdir()
            except OSError:
                if time.monotonic() > limit:
                    return
                time.sleep(0.01)


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
