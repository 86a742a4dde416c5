"""The likely cause of a failed build in one line, beside the resolver's own words."""

from __future__ import annotations

import re

UNREACHABLE = "the package index cannot be reached"

# the first that is found speaks: what is sure comes before what may be its consequence
_CAUSES = tuple(
    (re.compile(pattern, re.IGNORECASE), cause)
    for pattern, cause in (
        (
            r"no space left|not enough space|os error (28|112)\b",
            "the disk is full; make room, or set ASRBENCH_HOME and UV_CACHE_DIR to a larger one",
        ),
        (
            r"hash mismatch",
            "a file is not the one that was locked: a broken download, a mirror that changed it, "
            "or an attack; find out which before you lock anew (asrbench env lock)",
        ),
        (
            r"network (was|is) disabled|--offline|no-index",
            "it is not in the cache or in the folder of --find-links, and the network may not be "
            "used; build once with network, or fill a folder with asrbench env export",
        ),
        (
            r"(status|http|authentication)[^\n]{0,60}\b(401|403|407)\b",
            "the package index or the proxy wants a user and a password, or refuses yours",
        ),
        (
            r"dns error|failed to lookup address|client error \(connect\)"
            r"|connection (refused|reset)|failed to fetch|operation timed out"
            r"|error sending request",
            f"{UNREACHABLE}; check network and proxy, or use --offline",
        ),
        (
            r"matching (platform|python version|python abi|python implementation)"
            r"|current platform|no usable wheels|wheels are required",
            "there is no wheel for that system and Python; see asrbench env check --platforms",
        ),
        (
            r"'vk' has no member|is not a member of .vk.",
            "the headers of Vulkan are too old for what is compiled here; take a newer Vulkan SDK "
            "and name its folder in VULKAN_SDK",
        ),
        (
            r"could not find vulkan|provided by\s+\"?spirv-headers",
            "a package is compiled for Vulkan here, which needs the Vulkan SDK: headers, library, "
            "glslc and SPIRV-Headers (Debian: libvulkan-dev glslc spirv-headers)",
        ),
        (
            r"failed to find (hip|rocm) root directory|no cmake_hip_compiler could be found"
            r"|provided by\s+\"?(hip|hipblas|rocblas)\b|at least rocm/hip",
            "a package is compiled for ROCm here, which needs HIP's compiler, hipBLAS and rocBLAS, "
            "6.1 or newer (AMD's packages: rocm-hip-sdk); ROCM_PATH names their folder if it is "
            "not /opt/rocm",
        ),
        (
            r"no such file or directory: '?cmake|no cmake_c(xx)?_compiler could be found"
            r"|cmake_c(xx)?_compiler not set|not a full path to an existing compiler",
            "a package is built from its sources here, and a C++ compiler or cmake is missing "
            "(Debian: g++ cmake; Windows: Visual Studio's C++ build tools; "
            "macOS: xcode-select --install)",
        ),
        (
            r"failed to build|build backend returned an error|microsoft visual c\+\+",
            "a package is built from its sources here, and that failed: is a compiler missing?",
        ),
        (
            r"no solution found|incompatible|unsatisfiable",
            "what is asked for contradicts itself, or does not exist",
        ),
        (
            r"permission denied|access is denied|os error (5|13)\b",
            "a file may not be written: another user's, or held by an antivirus program",
        ),
    )
)


def likely_cause(said: str) -> str | None:
    """None if nothing that is known is in what uv said."""
    return next((cause for pattern, cause in _CAUSES if pattern.search(said)), None)
