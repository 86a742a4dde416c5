"""How many cores this process may use."""

import os

import psutil

CGROUPS = "/sys/fs/cgroup"  # with a container's share of the CPU, where it has one


def usable_physical_cores():
    """Physical cores, as two threads on one core wait for each other; fewer if not all are ours."""
    usable = _usable()
    return max(1, min(psutil.cpu_count(logical=False) or usable, usable))


def all_are_ours():
    """Whether nothing keeps this process from any of the machine's cores."""
    return _usable() >= (os.cpu_count() or 1)


def _usable():
    """Logical ones."""
    logical = os.cpu_count() or 1
    affinity = getattr(psutil.Process(), "cpu_affinity", None)  # macOS has none
    allowed = len(affinity()) if affinity else logical
    return min(allowed, int(_quota() or logical))


def _quota():
    """In cores; None without one."""
    v1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
    found = _numbers("cpu.max") or [number for name in v1 for number in _numbers(name)]
    if len(found) != 2 or found[0] in ("max", "-1"):
        return None
    return int(found[0]) / int(found[1])


def _numbers(name):
    try:
        with open(f"{CGROUPS}/{name}", encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []
