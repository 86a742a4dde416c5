"""What is said of a worker that died or hung."""

from __future__ import annotations

import re

CRASH_LOG_LINES = 50

# words of those who cannot allocate; each is a RuntimeError or the like in its library
_NO_MEMORY = re.compile(
    r"out of memory"  # CUDA, HIP, MPS, Metal, XLA
    r"|can't allocate memory|not enough memory"  # PyTorch's CPU allocator
    r"|failed to allocate memory"  # ONNX Runtime
    r"|ErrorOutOf(?:Device|Host)Memory"  # Vulkan
    r"|std::bad_alloc",
    re.IGNORECASE,
)
_NO_MEMORY_TYPES = {"MemoryError", "OutOfMemoryError"}
_FATAL = re.compile(r"^(Fatal Python error: |Windows fatal exception: )", re.MULTILINE)
_AFTER_STACK = "Extension modules:"


def says_out_of_memory(error_type: str, message: str) -> bool:
    """Whether an exception of a worker means that memory, or an accelerator's, ran out."""
    return error_type in _NO_MEMORY_TYPES or bool(_NO_MEMORY.search(message))


def python_stack(log_tail: str) -> str | None:
    """The last stack that faulthandler printed, None if there is none."""
    starts = [found.start() for found in _FATAL.finditer(log_tail)]
    if not starts:
        return None
    return log_tail[starts[-1] :].partition(_AFTER_STACK)[0].strip()
