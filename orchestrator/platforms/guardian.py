"""Ends what a dead controller left: its workers' whole trees, on Linux.

A worker itself gets a signal from the kernel when its controller dies, but what it had started does
not. So the controller starts one guardian, which waits for the end of the pipe between them; the
system closes that however the controller dies. Run by path, on the standard library alone:

    python -I -S guardian.py OWNER        stdin: one cgroup folder a line

A process belongs to a tree if it carries the tree's mark in its environment: a daemon leaves its
group and its parent, but keeps that.
"""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

TREE_MARK = "ASRBENCH_TREE"
KILL_ROUNDS = 100  # for processes that fork while they are killed
ROUND_S = 0.01
YOUNG_S = 2.0


def marked(proc: Path = Path("/proc")) -> tuple[list[tuple[int, str]], bool]:
    """Living processes of this user that carry a tree's mark, and the mark.

    And whether one more may: a process that is just becoming another program shows no environment.
    """
    prefix, found, unsettled = f"{TREE_MARK}=".encode(), [], False
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # another user's, or ended while we looked
            continue
        unsettled = unsettled or (not environment and _is_young_program(folder))
        for variable in environment.split(b"\0"):
            if variable.startswith(prefix):
                value = variable.removeprefix(prefix).decode("utf-8", "replace")
                found.append((int(folder.name), value))
    return found, unsettled


def kill_marked(belongs: Callable[[str], bool]) -> None:
    """SIGKILL to every process whose mark belongs, again while they fork."""
    for _ in range(KILL_ROUNDS):
        found, unsettled = marked()
        pids = [pid for pid, mark in found if belongs(mark) and not _is_dying(pid)]
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not pids and not unsettled:
            return
        time.sleep(ROUND_S)


def _is_young_program(folder: Path) -> bool:
    try:
        (folder / "exe").readlink()  # neither a kernel thread nor a zombie
        started_s = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[19])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - started_s / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return False
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
    cgroups = [Path(os.fsdecode(line.rstrip(b"\n"))) for line in sys.stdin.buffer]
    kill_marked(lambda mark: mark.startswith(owner))
    for folder in cgroups:
        for pid in _members(folder):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for _ in range(KILL_ROUNDS):
            with contextlib.suppress(OSError):
                folder.rmdir()
            if not folder.exists():
                break
            time.sleep(ROUND_S)


def _members(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_bytes().split() if pid != b"0"]
    except (OSError, ValueError):
        return []


if __name__ == "__main__":
    main(sys.argv[1])
