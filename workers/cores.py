"""How many cores this process may use."""

import os

import psutil

QUOTA = "/sys/fs/cgroup/cpu.max"  # a container's share of the CPU, where it has one


def usable_physical_cores():
    """Physical cores, as two threads on one core wait for each other; fewer if not all are ours."""
    logical = os.cpu_count() or 1
    affinity = getattr(psutil.Process(), "cpu_affinity", None)  # macOS has none
    allowed = len(affinity()) if affinity else logical
    physical = psutil.cpu_count(logical=False) or logical
    return max(1, min(physical, allowed, int(_quota() or logical)))


def _quota():
    try:
        with open(QUOTA, encoding="ascii") as file:
            limit, period = file.read().split()
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)
