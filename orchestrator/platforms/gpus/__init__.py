"""GPUs as they can be seen from outside, in milliseconds.

find_gpus() → list of Gpu, each with the accelerators that it offers and what is in their way
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from orchestrator.platforms.gpus.on_windows import find_gpus
elif sys.platform == "darwin":
    from orchestrator.platforms.gpus.on_macos import find_gpus
else:
    from orchestrator.platforms.gpus.on_linux import find_gpus

from orchestrator.platforms.gpus.gpu import Gpu, Obstacle, gfx_target

__all__ = ["Gpu", "Obstacle", "find_gpus", "gfx_target"]
