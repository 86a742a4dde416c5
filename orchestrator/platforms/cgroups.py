"""Linux memory cgroups: a kernel counter for a whole process tree, which misses no spike.

A cgroup can be made below our own, if this user may write there: with v1 often, with v2 where
memory was delegated to us (own_cgroup.py sees to that). Elsewhere there is none, and that is said.
"""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import functools
import itertools
import os
import re
from pathlib import Path, PurePosixPath

from orchestrator.platforms.cgroup_folder import CgroupFolder
from orchestrator.platforms.cgroup_v1 import CgroupV1
from orchestrator.platforms.cgroup_v2 import CgroupV2
from orchestrator.platforms.own_cgroup import LEAF, ask_for_scope, is_delegated, share_out_memory
from orchestrator.platforms.procfs import PID_NAMESPACE

MemoryCgroup = CgroupV1 | CgroupV2

_numbers = itertools.count()
_KINDS: dict[int, type[CgroupV1] | type[CgroupV2]] = {1: CgroupV1, 2: CgroupV2}


def make_cgroup(
    limit_bytes: int | None = None, proc: Path = Path("/proc/self")
) -> MemoryCgroup | None:
    """A fresh memory cgroup for one worker, or None where this user cannot make one."""
    for version, folder in places(proc):
        _sweep(folder)
        made = folder / f"asrbench-{PID_NAMESPACE}-{os.getpid()}-{next(_numbers)}"
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            cgroup = _KINDS[version](made)
            if limit_bytes is not None:
                cgroup.limit(limit_bytes)
        except (OSError, ValueError):
            made.rmdir()
            continue
        if cgroup.peak_bytes() is not None:
            return cgroup
        made.rmdir()  # it counts nothing: Linux before 5.19, or without the controller
    return None


def places(proc: Path = Path("/proc/self")) -> list[tuple[int, Path]]:
    """Where cgroups for workers can be made: (version, folder). May move this process there.

    It does so only as long as it has no children, which would have to move as well.
    """
    return _candidates(proc) or _delegated(proc)


@functools.cache  # asked once: systemd's answer takes a while
def _delegated(proc: Path) -> list[tuple[int, Path]]:
    """Candidates after this process got a place of its own, where it can get one."""

    def current() -> str:
        return (proc / "cgroup").read_text(encoding="utf-8")

    unified = _unified(proc)
    if not unified:
        return []
    if is_delegated(unified[0]) and share_out_memory(unified[0], os.getpid()):
        return _candidates(proc)
    if ask_for_scope(current):
        moved = _unified(proc)
        if moved and share_out_memory(moved[0], os.getpid()):
            return _candidates(proc)
    return []


def _unified(proc: Path) -> list[Path]:
    """Our own cgroup of version 2, where that version is in charge of memory."""
    folders = [folder for version, folder in own_folders("memory", proc) if version == 2]
    return [folder for folder in folders if _names_memory(folder / "cgroup.controllers")]


def own_folders(controller: str, proc: Path = Path("/proc/self")) -> list[tuple[int, Path]]:
    """Where the cgroup that we are in is visible: (version, folder). v2 has one for them all."""
    try:
        memberships = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (proc / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found += [(2, folder) for folder in _folders(mounts, "cgroup2", "", path)]
        elif controller in controllers.split(","):
            found += [(1, folder) for folder in _folders(mounts, "cgroup", controller, path)]
    return found


@functools.cache  # once: what cannot be killed would be waited for each time
def _sweep(folder: Path) -> None:
    """End and remove what a killed controller left that could be seen from here."""
    for left in folder.glob(f"asrbench-{PID_NAMESPACE}-*"):
        owner = left.name.split("-")[2]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            abandoned = CgroupFolder(left)
            abandoned.kill()
            abandoned.remove()


def _candidates(proc: Path) -> list[tuple[int, Path]]:
    found = []
    for version, folder in own_folders("memory", proc):
        place = folder.parent if version == 2 and folder.name == LEAF else folder
        if version == 1 or _names_memory(place / "cgroup.subtree_control"):
            found.append((version, place))
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


def _names_memory(file: Path) -> bool:
    try:
        return "memory" in file.read_text("ascii").split()
    except OSError:
        return False
