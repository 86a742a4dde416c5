"""What differs between operating systems, behind one interface; one file for each of them.

spawn(command, environment, folder, memory_limit_bytes) → ProcessTree
point_latest(link, target)            results/latest → the newest run
quoted(words)                         a command as a person can paste it
kernel_lines(pids, since)             what the system's log says of these processes
leave_to_guardian(folder)             deleted should this process be killed, where that can be
MachineWatch().look()                 counters of the whole machine → MachineState
NOBODY_READS                          errors of a stdout whose reader went away
memory_counter()                      what counts a worker's tree here, for this user
worker_network(python)                "none" if its workers can do without; else "open",
                                      or "open: " and why this system refuses
system_libraries()                    folders of the system's own shared libraries
configured_libraries()                further ones that an administrator added to the system
devices                               memory and energy of GPUs, a package of its own
gpus                                  which GPUs there are, a package of its own
"""

from __future__ import annotations

import sys
from typing import Protocol

from orchestrator.platforms import devices
from orchestrator.platforms.machine_state import MachineState
from schemas.records import MemoryPeak

if sys.platform == "win32":
    from orchestrator.platforms.windows import (
        NOBODY_READS,
        MachineWatch,
        configured_libraries,
        cpu_name,
        kernel_lines,
        leave_to_guardian,
        memory_counter,
        point_latest,
        quoted,
        spawn,
        system_libraries,
        venv_python,
        worker_network,
    )
elif sys.platform == "darwin":
    from orchestrator.platforms.macos import (
        NOBODY_READS,
        MachineWatch,
        configured_libraries,
        cpu_name,
        kernel_lines,
        leave_to_guardian,
        memory_counter,
        point_latest,
        quoted,
        spawn,
        system_libraries,
        venv_python,
        worker_network,
    )
else:
    from orchestrator.platforms.linux import (
        NOBODY_READS,
        MachineWatch,
        cpu_name,
        kernel_lines,
        leave_to_guardian,
        memory_counter,
        point_latest,
        quoted,
        spawn,
        venv_python,
    )
    from orchestrator.platforms.linux_isolation import (
        configured_libraries,
        system_libraries,
        worker_network,
    )

__all__ = [
    "NOBODY_READS",
    "ByteStream",
    "MachineState",
    "MachineWatch",
    "ProcessTree",
    "configured_libraries",
    "cpu_name",
    "devices",
    "kernel_lines",
    "leave_to_guardian",
    "memory_counter",
    "point_latest",
    "quoted",
    "spawn",
    "system_libraries",
    "venv_python",
    "worker_network",
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

    def begin_memory_window(self) -> None:
        """A phase begins whose own peak is wanted."""
        ...

    def memory_window(self) -> MemoryPeak | None:
        """Peak since the last begin_memory_window()."""
        ...

    def memory_curve(self) -> list[tuple[float, int]]:
        """The last seconds: (seconds before now, resident bytes), oldest first."""
        ...

    def out_of_memory(self) -> str | None:
        """Evidence that it ended because memory ran out, in words; None without evidence."""
        ...

    def pids(self) -> list[int]:
        """Its living processes, as far as they are known."""
        ...

    def cpu_s_by_pid(self) -> dict[int, float]:
        """CPU seconds so far: one entry for each living process, or one for the whole tree.

        Empty if it is not known: the started process has ended, and no counter outlives it.
        """
        ...

    def dump_stack(self) -> str | None:
        """Make a hanging process print where it is, and end, where the platform can.

        Says what the system knows of why it hangs.
        """
        ...

    def kill(self) -> str | None:
        """Kill the whole tree, however it split, within a few seconds. Says what cannot be."""
        ...

    def close(self) -> str | None:
        """Kill what is left, stop measuring, give back pipes and kernel objects. As kill()."""
        ...
