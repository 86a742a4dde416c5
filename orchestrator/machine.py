"""What this machine is, for run.json: results without it cannot be compared."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import psutil

import orchestrator
from orchestrator.platforms import cpu_name, memory_counter
from orchestrator.platforms.gpus import find_gpus


def machine_identity() -> list[Any]:
    """What would make times and memory differ; not the host's name, which networks change."""
    ram_gib = round(psutil.virtual_memory().total / 2**30)
    return [platform.system(), platform.machine(), cpu_name(), os.cpu_count(), ram_gib, gpu_names()]


def gpu_names() -> list[str]:
    """With what builds for them are made for, where that is known."""
    return [" ".join(filter(None, [gpu.name, gpu.target])) for gpu in find_gpus()]


def counters_identity() -> list[Any]:
    """What would make its counters differ: the machine, its kernel, and which counter serves."""
    return [*machine_identity(), platform.release(), memory_counter()]


def describe_machine() -> dict[str, Any]:
    """Host, OS, CPU, RAM, GPUs seen from outside, and the versions of what measures."""
    return {
        "host": platform.node(),
        "os": platform.platform(),
        "cpu": cpu_name(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": os.cpu_count(),
        "ram_bytes": psutil.virtual_memory().total,
        "gpus": gpu_names(),
        "versions": {
            "asrbench": orchestrator.__version__,
            "python": platform.python_version(),
            "uv": importlib.metadata.version("uv"),
        },
    }
