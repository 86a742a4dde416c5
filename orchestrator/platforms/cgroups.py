"""Linux memory cgroups: a kernel counter for a whole process tree, which misses no spike.

A cgroup can be made where this user may write: below our own (v1, or v2 with memory delegated to
children), or beside it (v2 in a systemd user session). Elsewhere there is none, and that is said.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.platforms.sampling import Sample

_numbers = itertools.count()
EMPTYING_S = 2.0


@dataclass(frozen=True)
class MemoryCgroup:
    """One cgroup made for one worker."""

    folder: Path
    version: int

    @property
    def method(self) -> str:
        """How results name this counter."""
        return f"cgroup-v{self.version}"

    def add(self, pid: int) -> None:
        """Move a process in. What it allocated before (here: < 1 MB) is not counted."""
        (self.folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def peak_bytes(self) -> int:
        """The kernel's own high-water mark."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        return int((self.folder / name).read_text(encoding="ascii"))

    def pids(self) -> list[int]:
        """Every process in it, also those that left their session or lost their parent."""
        try:
            pids = (int(pid) for pid in (self.folder / "cgroup.procs").read_bytes().split())
            return [pid for pid in pids if pid > 0]  # 0 stands for another container's process
        except OSError:
            return []

    def look(self) -> Sample | None:
        """Anonymous and file-backed memory apart, page cache included."""
        try:
            lines = (self.folder / "memory.stat").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        values = {key: int(value) for key, value in (line.split() for line in lines)}
        if self.version == 1:
            anon, cache = values["total_rss"], values["total_cache"]
            shared = values.get("total_shmem", 0)
        else:
            anon, cache, shared = values["anon"], values["file"], values["shmem"]
        return Sample(anon + cache, anon + shared, cache - shared, {})

    def kill(self) -> None:
        """SIGKILL to every process in it, again while they fork."""
        if self.version == 2 and (self.folder / "cgroup.kill").exists():
            (self.folder / "cgroup.kill").write_text("1", encoding="ascii")
        limit = time.monotonic() + EMPTYING_S
        while (pids := self.pids()) and time.monotonic() < limit:
            for pid in pids:
                try:
                    os.kill(pid, 9)
                except OSError:
                    continue
            time.sleep(0.005)

    def remove(self) -> None:
        """Delete it; a process in uninterruptible sleep may keep it from being deleted."""
        limit = time.monotonic() + EMPTYING_S
        while self.folder.exists():
            try:
                self.folder.rmdir()
            except OSError:
                if time.monotonic() > limit:
                    return
                time.sleep(0.01)


def make_cgroup(proc: Path = Path("/proc/self")) -> MemoryCgroup | None:
    """A fresh memory cgroup for one worker, or None where this user cannot make one."""
    for version, folder in _candidates(proc):
        _sweep(folder, version)
        made = folder / f"asrbench-{os.getpid()}-{next(_numbers)}"
        try:
            made.mkdir()
        except OSError:
            continue
        cgroup = MemoryCgroup(made, version)
        try:
            cgroup.peak_bytes()  # absent before Linux 5.19, or without the controller
        except (OSError, ValueError):
            made.rmdir()
            continue
        return cgroup
    return None


def _sweep(folder: Path, version: int) -> None:
    """End and remove what a killed controller left."""
    for left in folder.glob("asrbench-*"):
        owner = left.name.split("-")[1]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            abandoned = MemoryCgroup(left, version)
            abandoned.kill()
            abandoned.remove()


def _candidates(proc: Path) -> list[tuple[int, Path]]:
    try:
        memberships = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (proc / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found += [(1, folder) for folder in _folders(mounts, "cgroup", "memory", path)]
        elif controllers == "":
            for folder in _folders(mounts, "cgroup2", "", path):
                found += [(2, place) for place in (folder, folder.parent) if _delegates(place)]
    return found


def _folders(mounts: list[str], kind: str, option: str, path: str) -> list[Path]:
    """Where a cgroup path is visible, given that a mount may show only a part of the tree."""
    folders = []
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        root, mount_point = before.split()[3:5]
        found_kind, _, options = after.split(" ", 2)
        if found_kind != kind or (option and option not in options.split(",")):
            continue
        below = PurePosixPath(path)
        if below.is_relative_to(root):
            folders.append(Path(_unescaped(mount_point)) / below.relative_to(root))
    return folders


def _unescaped(field: str) -> str:
    """mountinfo writes blanks in paths as octal numbers. Source: proc_pid_mountinfo(5)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _delegates(folder: Path) -> bool:
    try:
        return "memory" in (folder / "cgroup.subtree_control").read_text("ascii").split()
    except OSError:
        return False
