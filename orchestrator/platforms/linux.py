"""Linux: memory by cgroup where one can be made, else by /proc; the tree killed by all means."""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import contextlib
import fcntl
import functools
import io
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

from orchestrator.platforms import cgroups, guardian, procfs
from orchestrator.platforms.guardian import TREE_MARK
from orchestrator.platforms.kernel_log import kernel_lines
from orchestrator.platforms.linux_hardware import cpu_name
from orchestrator.platforms.linux_memory import LinuxMemory
from orchestrator.platforms.linux_state import MachineWatch
from orchestrator.platforms.posix import (
    KILL_WAIT_S,
    NOBODY_READS,
    Pipes,
    point_latest,
    quoted,
    venv_python,
)
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

STOP_WAIT_S = 1.0
STOP_LOOK_S = 0.0002
PIPE_BYTES = 1 << 18  # one block of audio fits, so its writer need not wait for its reader


class LinuxProcessTree(Pipes):
    """See platforms.ProcessTree."""

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: Path,
        memory_limit_bytes: int | None = None,
    ) -> None:
        _guardian(os.getpid())
        _kill_abandoned()
        self._cgroup = cgroups.make_cgroup(memory_limit_bytes)
        if self._cgroup:
            _tell_guardian("cgroup", self._cgroup.folder.path)
        self._left: str | None = None
        self._mark = f"{_owner()}{uuid.uuid4().hex}"
        try:
            super().__init__(command, environment | {TREE_MARK: self._mark}, folder)
        except BaseException:
            if self._cgroup:
                self._cgroup.close()
            raise
        self._started = guardian.started(self.pid)
        with contextlib.suppress(OSError):  # the system's default serves too
            fcntl.fcntl(self._stdin.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        faults = None
        if self._cgroup:
            try:
                faults = _enter(self._cgroup, self.pid)
            except OSError:  # it may be made but not entered: /proc serves then
                self._cgroup.close()
                self._cgroup = None
        # what it allocated before it was moved (here: < 1 MB) is not counted
        try:
            self._memory = LinuxMemory(
                self.pid, self._cgroup, memory_limit_bytes, self.kill_group, faults
            )
        except BaseException:  # no thread, below a limit of processes
            self.kill()
            if self._cgroup:
                self._cgroup.close()
            self.close_pipes()
            raise

    def memory(self) -> MemoryPeak | None:
        """Peak of the tree since the spawn."""
        return self._memory.total()

    def begin_memory_window(self) -> None:
        """A new phase begins."""
        self._memory.begin_window()

    def memory_window(self) -> MemoryPeak | None:
        """Peak of the tree in this phase."""
        return self._memory.window()

    def memory_curve(self) -> list[tuple[float, int]]:
        """Resident memory in the last seconds."""
        return self._memory.curve()

    def out_of_memory(self) -> str | None:
        """Evidence, in words."""
        return self._memory.out_of_memory()

    def pids(self) -> list[int]:
        """Of the tree."""
        return self._memory.pids()

    def cpu_s_by_pid(self) -> dict[int, float]:
        """By the counter of a v2 cgroup, which misses nobody, else by /proc."""
        used_s = self._cgroup.cpu_s() if self._cgroup else None
        if used_s is not None:
            return {self.pid: used_s}
        # a cgroup lists nobody who has ended, also while nobody has waited for him yet
        members = self._cgroup.folder.pids() if self._cgroup else []
        found = procfs.cpu_s_by_pid(list({*members, *procfs.tree_pids(self.pid)}))
        return found if self.pid in found else {}

    def kill(self) -> str | None:
        """The cgroup, the process group, and whoever carries the tree's mark."""
        if self._cgroup:
            self._cgroup.folder.kill()
        self.kill_group()
        unseen = guardian.kill_marked(lambda mark: mark == self._mark, self._started)
        if self.wait(KILL_WAIT_S) is None:
            state = procfs.state(self.pid)
            self._left = f"process {self.pid} is in state {state} and cannot be killed"
        elif alive := [pid for pid in sorted(unseen) if procfs.state(pid) not in (None, "Z")]:
            self._left = (
                f"process {', '.join(map(str, alive))} hangs: its environment cannot be read, so "
                "it may be one that this worker started, and was not killed"
            )
        return self._left

    def close(self) -> str | None:
        """Kill what is left and give everything back."""
        left = self._left or self.kill()  # once is enough to wait for what never ends
        self._memory.close()
        if self._cgroup:
            self._cgroup.close()
        self.close_pipes()
        return left


def _enter(cgroup: cgroups.MemoryCgroup, pid: int) -> int | None:
    """Move a process, and the children that it made before. Returns its page faults until then.

    It stands still meanwhile, else what it does in these 10 ms would be counted half. None if it
    cannot be stopped, as in a read from a disk that hangs, or is dead.
    """
    os.kill(pid, signal.SIGSTOP)
    limit = time.monotonic() + STOP_WAIT_S
    while procfs.state(pid) not in ("T", "Z", None) and time.monotonic() < limit:
        time.sleep(STOP_LOOK_S)
    try:
        faults = procfs.page_faults(pid) if procfs.state(pid) == "T" else None
        _move(cgroup, pid)
        return faults
    finally:
        os.kill(pid, signal.SIGCONT)


def _move(cgroup: cgroups.MemoryCgroup, pid: int) -> None:
    cgroup.folder.write("cgroup.procs", str(pid))
    moved = {pid}
    while outside := set(procfs.tree_pids(pid)) - moved - set(cgroup.folder.pids()):
        for child in outside:
            with contextlib.suppress(OSError):  # it ended
                cgroup.folder.write("cgroup.procs", str(child))
        moved |= outside


def _owner() -> str:
    return f"{procfs.PID_NAMESPACE}-{os.getpid()}-"


@functools.cache  # once: it reads every process's environment
def _kill_abandoned() -> None:
    """End what an earlier controller left whose guardian was killed as well."""

    def ownerless(mark: str) -> bool:
        namespace, owner, *_ = [*mark.split("-"), ""]
        return (
            namespace == procfs.PID_NAMESPACE
            and owner.isdigit()
            and not Path(f"/proc/{owner}").exists()
        )

    guardian.kill_marked(ownerless)


def leave_to_guardian(folder: Path) -> None:
    """Have it deleted, with all that is in it, should this process be killed."""
    _tell_guardian("folder", folder)


def _tell_guardian(kind: str, folder: Path) -> None:
    pipe, _ = _guardian(os.getpid())
    path = os.fsencode(folder)
    if b"\n" not in path:  # half of it would be another folder's name
        # somebody killed it: the next run ends processes and cgroups instead, and folders stay
        with contextlib.suppress(OSError):
            pipe.write(kind.encode() + b" " + path + b"\n")


@functools.cache
def _guardian(owner: int) -> tuple[io.FileIO, subprocess.Popen[bytes]]:
    """The pipe to this process's guardian, whose end sets it to work; and the guardian."""
    cgroups.places()  # while this process has no child: the guardian stays as long as we do
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, _owner()],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return io.FileIO(writing, "wb"), process


def spawn(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    memory_limit_bytes: int | None = None,
) -> LinuxProcessTree:
    """Start a process tree. Call from the main thread: PDEATHSIG is sent when that thread ends."""
    return LinuxProcessTree(command, environment, folder, memory_limit_bytes)


def memory_counter() -> str:
    """What counts a whole tree here, for this user."""
    cgroup = cgroups.make_cgroup()
    if cgroup is None:
        return "/proc"
    cgroup.close()
    return cgroup.method
