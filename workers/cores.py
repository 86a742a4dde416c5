"""How many threads a model's arithmetic gets if nobody says: one for each core it may use."""

import os

import psutil


def physical_cores():
    """Cores without their second threads, which share the same arithmetic units."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # a container, or taskset, may allow only some
        cores = min(cores, len(os.sched_getaffinity(0)))
    return cores
