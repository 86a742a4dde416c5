"""Linux, cgroup v2: a place of our own in which workers' cgroups may be made.

Memory can be shared out only by a cgroup without processes of its own, and only by whoever it was
delegated to. So the controller moves into a leaf of its own cgroup, if that one is its alone;
and systemd has nothing to say in it; otherwise it asks systemd for a scope that is. In a unit that
was not delegated systemd would end the controller when the kernel ends a worker for its memory
(OOMPolicy=stop). Source: systemd's docs/CGROUP_DELEGATION.md.
"""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

LEAF = "controller"
BUS_TIMEOUT_S = 10.0
MOVED_WITHIN_S = 2.0
SYSTEMD_RUNS = Path("/run/systemd/system")  # as sd_booted(3) tells it
DELEGATED = ("user.delegate", "trusted.delegate")  # what systemd writes on a cgroup that it gave


def share_out_memory(folder: Path, pid: int) -> bool:
    """Make folder, which holds pid alone, one whose children count memory. False if it cannot."""
    try:
        if "memory" not in (folder / "cgroup.controllers").read_text("ascii").split():
            return False
        if (folder / "cgroup.procs").read_text("ascii").split() != [str(pid)]:
            return False
        leaf = folder / LEAF
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(pid), "ascii")
        try:
            (folder / "cgroup.subtree_control").write_text("+memory", "ascii")
        except OSError:
            (folder / "cgroup.procs").write_text(str(pid), "ascii")
            leaf.rmdir()
            return False
    except OSError:
        return False
    return True


def is_delegated(folder: Path, systemd: Path = SYSTEMD_RUNS) -> bool:
    """Whether nobody else minds what is done in this cgroup. Not told by a user's own systemd."""
    if not systemd.is_dir():
        return True
    for name in DELEGATED:
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def ask_for_scope(current: Callable[[], str]) -> bool:
    """Let systemd move this process into a delegated scope: root's, else the user's.

    current() → our cgroup.
    """
    busctl, manager = shutil.which("busctl"), "--user" if os.geteuid() else "--system"
    if busctl is None or (manager == "--user" and "XDG_RUNTIME_DIR" not in os.environ):
        return False
    name, before = f"asrbench-{os.getpid()}.scope", current()
    command = [busctl, manager, "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
    command += ["org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"]
    command += [name, "fail", "2", "PIDs", "au", "1", str(os.getpid()), "Delegate", "b", "true"]
    command += ["0"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            command,
            check=True,
            timeout=BUS_TIMEOUT_S,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        limit = time.monotonic() + MOVED_WITHIN_S
        while time.monotonic() < limit:
            if current() != before:
                return True
            time.sleep(0.01)
    return False
