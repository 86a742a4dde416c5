"""Whether an error means that a process has lost its accelerator, not that its code is wrong.

After such an error every further call fails in that process: only a fresh one can tell whether
the device itself still works.
"""

from __future__ import annotations

import re

# sources: enum hipError_t (hip_runtime_api.h), enum cudaError (driver_types.h), winerror.h,
# VkResult (vulkan_core.h)
_LOST = re.compile(
    r"unspecified launch failure|illegal memory access|misaligned address|device-side assert"
    r"|(hip|cuda)Error(LaunchFailure|LaunchTimeOut|IllegalAddress|ECCNotCorrectable|HardwareStackError"
    r"|IllegalInstruction|MisalignedAddress|Assert|NoDevice|DevicesUnavailable|ContextIsDestroyed"
    r"|Unknown)|(hip|cuda) error: unknown error"
    r"|no CUDA-capable device|no (CUDA|HIP) GPUs are available"
    r"|launch timed out and was terminated|uncorrectable ECC"
    r"|(no|invalid) (kernel image|device function)|device kernel image is invalid"
    r"|DXGI_ERROR_DEVICE_(REMOVED|HUNG|RESET)|887A000[567]|VK_ERROR_DEVICE_LOST|ErrorDeviceLost"
    r"|GPU device (instance )?has been (suspended|removed)",
    re.IGNORECASE,
)


def lost_device(error: str) -> bool:
    """Of an error's text."""
    return _LOST.search(error) is not None
