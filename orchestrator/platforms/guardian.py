"""Ends what a dead controller left: its workers' whole trees, on Linux.

A worker itself gets a signal from the kernel when its controller dies, but what it had started does
not. So the controller starts one guardian, which waits for the end of the pipe between them; the
system closes that however the controller dies. Run by path, on the standard library alone:

    python -I -S guardian.py OWNER        stdin: a line is "cgroup PATH" or "folder PATH"

A process belongs to a tree if it carries the tree's mark in its environment: a daemon leaves its
group and its parent, but keeps that.
"""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import collections
import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Container
from pathlib import Path

TREE_MARK = "ASRBENCH_TREE"
KILL_ROUNDS = 100  # for processes that fork while they are killed
ROUND_S = 0.01
YOUNG_S = 2.0
OWN_FOLDERS = "asrbench-"  # how their names begin: nothing else is ever deleted
BLOCKED_S = 0.25  # no answer for so long: the others are read by another thread
LOOK_S = 1.0


def marked(
    since: int = 0, skip: Container[int] = (), look_s: float = LOOK_S, proc: Path = Path("/proc")
) -> tuple[dict[int, str], bool, set[int]]:
    """Look at every process that started at since (see started()) or later, look_s long at most.

    Returns living processes of this user that carry a tree's mark, with the mark; whether one more
    may (one that is just becoming another program shows no environment); and those that could not
    be looked at. Reading an environment waits for as long as that process's address space is held,
    which a driver that hangs does for ever: so threads read, and one that waits is left behind.
    """
    pids = [int(name) for name in os.listdir(proc) if name.isdigit()]  # noqa: PTH208 it is faster
    young = (pid for pid in pids if not since or started(pid, proc) >= since)
    waiting = collections.deque(pid for pid in young if pid not in skip)
    left, environments = set(waiting), dict[int, bytes]()

    def read() -> None:
        with contextlib.suppress(IndexError):  # of an empty deque
            while True:
                pid = waiting.popleft()
                environments[pid] = _read(f"{proc}/{pid}/environ")

    readers, deadline = [], time.monotonic() + look_s
    while waiting and time.monotonic() < deadline:
        readers.append(threading.Thread(target=read, name="environment reader", daemon=True))
        try:
            readers[-1].start()
        except RuntimeError:  # no thread below a limit of processes: the tree has taken all
            readers.pop()
            read()
            break
        before = -1
        while readers[-1].is_alive() and before < len(environments):
            before = len(environments)
            readers[-1].join(BLOCKED_S)
    for reader in readers:
        reader.join(max(0.0, deadline - time.monotonic()))
    seen = dict(environments)
    marks = {pid: mark for pid, found in seen.items() if (mark := _mark(found)) is not None}
    unsettled = any(not found and _is_young_program(pid, proc) for pid, found in seen.items())
    return marks, unsettled, left - set(seen)


def _mark(environment: bytes) -> str | None:
    for variable in environment.split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == TREE_MARK.encode():
            return value.decode("utf-8", "replace")
    return None


def _read(file: str) -> bytes:
    try:
        with open(file, "rb", buffering=0) as stream:  # noqa: PTH123 it is faster
            return stream.read()
    except OSError:  # another user's, or ended while we looked
        return b""


def started(pid: int, proc: Path = Path("/proc")) -> int:
    """When a process was forked, in clock ticks since the boot; 0 if it is gone."""
    try:
        return int(_read(f"{proc}/{pid}/stat").rpartition(b")")[2].split()[19])
    except (ValueError, IndexError):
        return 0


def kill_marked(belongs: Callable[[str], bool], since: int = 0) -> set[int]:
    """SIGKILL to every process whose mark belongs, again while they fork.

    since: no process that is older can carry such a mark. Returns those of which it could not be
    told, see marked().
    """
    blocked: set[int] = set()
    for _ in range(KILL_ROUNDS):
        marks, unsettled, unseen = marked(since, blocked, BLOCKED_S if blocked else LOOK_S)
        blocked |= unseen
        pids = [pid for pid, mark in marks.items() if belongs(mark) and not _is_dying(pid)]
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not pids and not unsettled:
            break
        time.sleep(ROUND_S)
    return blocked


def _is_young_program(pid: int, proc: Path) -> bool:
    try:
        (proc / str(pid) / "exe").readlink()  # neither a kernel thread nor a zombie, and ours
    except OSError:
        return False
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - started(pid, proc) / os.sysconf("SC_CLK_TCK")
    return age_s < YOUNG_S


def _is_dying(pid: int) -> bool:
    """Whether a SIGKILL waits for it already: a process in the kernel's hands takes its time."""
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return True
    pending = [int(line.split()[1], 16) for line in status.splitlines() if b"Pnd:" in line]
    return any(mask >> (signal.SIGKILL - 1) & 1 for mask in pending)


def main(owner: str) -> None:
    """Wait for the controller's end, then leave nothing of it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the controller
    found = [os.fsdecode(line.rstrip(b"\n")).partition(" ") for line in sys.stdin.buffer]
    # its trees are younger than their guardian
    kill_marked(lambda mark: mark.startswith(owner), started(os.getpid()))
    for folder in (Path(path) for kind, _, path in found if kind == "cgroup"):
        for pid in _members(folder):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for _ in range(KILL_ROUNDS):
            with contextlib.suppress(OSError):
                folder.rmdir()
            if not folder.exists():
                break
            time.sleep(ROUND_S)
    for kind, _, path in found:
        if (
            kind == "folder"
            and Path(path).is_absolute()
            and Path(path).name.startswith(OWN_FOLDERS)
        ):
            with contextlib.suppress(RecursionError):  # a thousand folders in each other
                shutil.rmtree(path, ignore_errors=True)


def _members(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_bytes().split() if pid != b"0"]
    except (OSError, ValueError):
        return []


if __name__ == "__main__":
    main(sys.argv[1])
