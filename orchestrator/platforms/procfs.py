"""Linux /proc: a process tree and its memory, cheaply (0.1 ms a process, no scan of all pids)."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import os
import re
from pathlib import Path

from orchestrator.platforms.sampling import Sample
from orchestrator.platforms.small_files import read_small, write_small

_ROLLUP = re.compile(rb"^(Pss|Private_\w+|Shared_\w+):\s*(\d+) kB", re.MULTILINE)
_FORKED_NO_EXEC = 0x40  # PF_FORKNOEXEC, of the flags in proc_pid_stat(5)
_FIELDS = re.compile(rb"^(VmHWM|RssAnon|RssFile|RssShmem):\s*(\d+) kB", re.MULTILINE)
_MEMORY_BYTES = 160  # of those lines and of VmRSS, which stand together

_OWN_PID_NAMESPACE = Path("/proc/self/ns/pid")
# its inode, by which its name goes: process ids mean nothing in another container
PID_NAMESPACE = (
    "".join(filter(str.isdigit, _OWN_PID_NAMESPACE.readlink().name))
    if _OWN_PID_NAMESPACE.exists()
    else "0"
)


def tree_pids(root: int, proc: Path = Path("/proc")) -> list[int]:
    """The process and its descendants, zombies too, parents first. Empty if it is gone."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        try:
            children = [
                int(child)
                for thread in os.listdir(f"{proc}/{pid}/task")  # noqa: PTH208 see small_files
                for child in read_small(f"{proc}/{pid}/task/{thread}/children").split()
            ]
        except OSError:  # ended while we looked
            continue
        found.append(pid)
        waiting += children
    return found


def cpu_s_by_pid(pids: list[int], proc: Path = Path("/proc")) -> dict[int, float]:
    """CPU seconds of each process and of the children that it has waited for.

    What a child used whom nobody of the tree waits for (an orphan, SIGCHLD ignored) is lost when it
    ends. Source: proc_pid_stat(5), fields 14 to 17.
    """
    second, found = os.sysconf("SC_CLK_TCK"), {}
    for pid in pids:
        try:
            stat = read_small(f"{proc}/{pid}/stat")
        except OSError:  # ended while we looked
            continue
        fields = stat.rpartition(b")")[2].split()[11:15]  # a name may hold anything, also ")"
        if len(fields) == 4 and all(field.isdigit() for field in fields):
            found[pid] = sum(map(int, fields)) / second
    return found


def look(pids: list[int], proc: Path = Path("/proc")) -> Sample | None:
    """Memory of these processes now; None if none of them lives."""
    anon = file = shared = largest_file = 0
    high_water = {}
    for pid in own_memory(pids, proc):
        try:
            status = read_small(f"{proc}/{pid}/status")
        except OSError:
            continue
        # searching all of it takes five times as long
        _, name, rest = status.partition(b"\nVmHWM:")
        memory = _FIELDS.findall(name + rest[:_MEMORY_BYTES])
        fields = {name: int(value) * 1024 for name, value in memory}
        if b"VmHWM" not in fields:  # a zombie has no memory
            continue
        high_water[pid] = fields[b"VmHWM"]
        anon += fields.get(b"RssAnon", 0)  # absent before Linux 4.5
        file += fields.get(b"RssFile", 0)
        largest_file = max(largest_file, fields.get(b"RssFile", 0))
        shared += fields.get(b"RssShmem", 0)
    if not high_water:
        return None
    return Sample(
        anon + file + shared, anon + shared, file, high_water, largest_file_bytes=largest_file
    )


def own_memory(pids: list[int], proc: Path = Path("/proc")) -> list[int]:
    """Without those that still borrow their parent's memory, all of which would count twice.

    A child of vfork, which posix_spawn and subprocess use, does so until it becomes a program, and
    the thread that made it waits uninterruptibly. A fork whose parent happens to wait like that is
    left out too, for one look. A tree of one borrows from nobody in it.
    """
    if len(pids) < 2:
        return pids
    return [pid for pid in pids if not _borrows_memory(pid, proc)]


def _borrows_memory(pid: int, proc: Path) -> bool:
    try:
        fields = read_small(f"{proc}/{pid}/stat").rpartition(b")")[2].split()
        parent, flags = fields[1].decode("ascii"), int(fields[6])
        if not flags & _FORKED_NO_EXEC:
            return False
        threads = proc / parent / "task"
        return any(state(int(thread.name), threads) == "D" for thread in threads.iterdir())
    except (OSError, ValueError, IndexError):  # ended while we looked
        return False


def proportional_bytes(pids: list[int], proc: Path = Path("/proc")) -> int:
    """Resident memory with each page counted once: 10 ms for 300 MB, so not for often.

    The higher of two values, neither of which is too high: PSS, which divides a library's pages
    also with processes outside the tree; and what each process has for itself + the most that one
    of them shares. Source: smaps_rollup in proc_pid_smaps(5).
    """
    divided = alone = most_shared = 0
    for pid in own_memory(pids, proc):
        try:
            rollup = read_small(f"{proc}/{pid}/smaps_rollup")
        except OSError:
            continue
        fields = {name: int(value) * 1024 for name, value in _ROLLUP.findall(rollup)}
        divided += fields.get(b"Pss", 0)
        alone += fields.get(b"Private_Clean", 0) + fields.get(b"Private_Dirty", 0)
        shared = fields.get(b"Shared_Clean", 0) + fields.get(b"Shared_Dirty", 0)
        most_shared = max(most_shared, shared)
    if any(state(pid, proc) in (None, "Z") for pid in pids):
        return divided  # what it shared with one other may have been counted as that one's own
    return max(divided, alone + most_shared)


def reset_high_water(pids: list[int], proc: Path = Path("/proc")) -> None:
    """Let VmHWM start anew from what is resident. Source: clear_refs in proc_pid_clear_refs(5)."""
    for pid in pids:
        with contextlib.suppress(OSError):
            write_small(f"{proc}/{pid}/clear_refs", b"5")


def page_faults(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Of a living process, minor and major, its children's not among them; None if it is dead.

    Source: proc_pid_stat(5), fields 10 and 12.
    """
    try:
        fields = read_small(f"{proc}/{pid}/stat").rpartition(b")")[2].split()
        return None if fields[0] == b"Z" else int(fields[7]) + int(fields[9])
    except (OSError, ValueError, IndexError):
        return None


def state(pid: int, proc: Path = Path("/proc")) -> str | None:
    """The letter of proc_pid_stat(5): R runs, D cannot be killed, Z is dead. None if it is gone."""
    try:
        stat = read_small(f"{proc}/{pid}/stat")
        return stat.rpartition(b")")[2].split()[0].decode("ascii", "replace")
    except (OSError, IndexError):
        return None
