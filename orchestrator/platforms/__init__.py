"""What differs between operating systems, behind one interface; one file for each of them.

spawn(command, environment, folder) → ProcessTree
point_latest(link, target)            results/latest → the newest run
gpus()                                names of the GPUs that can be seen without a driver
"""

from __future__ import annotations

import sys
from typing import Protocol

from schemas.records import MemoryPeak

if sys.platform == "win32":
    from orchestrator.platforms.windows import cpu_name, gpus, point_latest, spawn, venv_python
elif sys.platform == "darwin":
    from orchestrator.platforms.macos import cpu_name, gpus, point_latest, spawn, venv_python
else:
    from orchestrator.platforms.linux import cpu_name, gpus, point_latest, spawn, venv_python

__all__ = [
    "ByteStream",
    "ProcessTree",
    "cpu_name",
    "gpus",
    "point_latest",
    "spawn",
    "venv_python",
]


class ByteStream(Protocol):
    """The reading end of a pipe, unbuffered."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read up to len(buffer) bytes; 0 at the end."""
        ...

    def close(self) -> None:
        """Give the file descriptor back."""
        ...


class ProcessTree(Protocol):
    """A started process and everything that it started, as one thing to measure and to kill."""

    @property
    def pid(self) -> int:
        """Of the process that was started; on Windows a launcher's."""
        ...

    @property
    def stdout(self) -> ByteStream:
        """Its standard output."""
        ...

    @property
    def stderr(self) -> ByteStream:
        """Its standard error."""
        ...

    def write(self, data: memoryview, deadline: float) -> None:
        """Write all to its stdin. TimeoutError at time.monotonic() == deadline; OSError if dead."""
        ...

    def close_stdin(self) -> None:
        """Ask it to end: its host reads the end of its requests."""
        ...

    def wait(self, timeout_s: float | None) -> int | None:
        """Its exit status by its handle, None if it still runs after timeout_s."""
        ...

    def memory(self) -> MemoryPeak | None:
        """Peak since the spawn, with its method. None if nothing was seen."""
        ...

    def kill(self) -> None:
        """Kill the whole tree, however it split; returns within a few seconds."""
        ...

    def close(self) -> None:
        """Kill what is left, stop measuring, give back pipes and kernel objects."""
        ...
