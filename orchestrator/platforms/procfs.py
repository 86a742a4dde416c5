"""Linux /proc: a process tree and its memory, cheaply (0.1 ms a process, no scan of all pids)."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.platforms.sampling import Sample

_FIELDS = re.compile(rb"^(VmHWM|RssAnon|RssFile|RssShmem):\s*(\d+) kB", re.MULTILINE)


def tree_pids(root: int, proc: Path = Path("/proc")) -> list[int]:
    """The process and its living descendants, parents first. Empty if it is gone."""
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        try:
            children = [
                int(child)
                for thread in (proc / str(pid) / "task").iterdir()
                for child in (thread / "children").read_bytes().split()
            ]
        except OSError:  # ended while we looked
            continue
        found.append(pid)
        waiting += children
    return found


def look(pids: list[int], proc: Path = Path("/proc")) -> Sample | None:
    """Memory of these processes now; None if none of them lives."""
    anon = file = shared = 0
    high_water = {}
    for pid in pids:
        try:
            status = (proc / str(pid) / "status").read_bytes()
        except OSError:
            continue
        fields = {name: int(value) * 1024 for name, value in _FIELDS.findall(status)}
        if b"VmHWM" not in fields:  # a zombie has no memory
            continue
        high_water[pid] = fields[b"VmHWM"]
        anon += fields[b"RssAnon"]
        file += fields[b"RssFile"]
        shared += fields[b"RssShmem"]
    if not high_water:
        return None
    return Sample(anon + file + shared, anon + shared, file, high_water)
