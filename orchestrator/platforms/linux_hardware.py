"""Linux: what the machine is made of, as its run.json tells."""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import platform
from pathlib import Path


def cpu_name() -> str:
    """The first processor's model name."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()  # Arm kernels give no name
