"""macOS: the GPU on Apple's chips."""

from __future__ import annotations

import sys

assert sys.platform == "darwin"

import platform

from orchestrator.platforms.gpus.gpu import Gpu


def find_gpus() -> list[Gpu]:
    """One on Apple silicon, none on Intel: torch's mps needs the former."""
    if platform.machine() != "arm64":
        return []
    return [Gpu("Apple", "Apple GPU", uses={"mps": None})]
