"""Linux: whether a worker can give its network up, and which libraries are the system's own."""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import functools
import os
import subprocess
from pathlib import Path

from orchestrator import paths

TRIAL_S = 20.0
LD_SO_CACHE = Path("/etc/ld.so.cache")
SYSTEM_LIBRARIES = tuple(
    map(Path, "/lib /lib32 /lib64 /usr/lib /usr/lib32 /usr/lib64 /nix/store /gnu/store".split())
)


@functools.cache
def worker_network(python: Path) -> str:
    """What workers of this interpreter can be told: "none", or "open: " and why not."""
    # the trial has the worker's own program: a security module may decide by that
    try:
        done = subprocess.run(
            [python, "-I", "-S", "-B", paths.SECLUSION],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=TRIAL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"open: {error}"
    if done.returncode == 0:
        return "none"
    said = done.stderr.strip().splitlines()
    return f"open: {said[-1] if said else f'the trial ended with status {done.returncode}'}"


def system_libraries() -> tuple[Path, ...]:
    """Folders of the system's own libraries, drivers of accelerators among them."""
    return SYSTEM_LIBRARIES


def configured_libraries(cache: Path = LD_SO_CACHE) -> tuple[Path, ...]:
    """Folders that the administrator told the linker of, or that belong to an accelerator."""
    found = {Path("/usr/local/lib"), Path("/usr/local/nvidia")}
    found.update(Path(file).parent for file in _cached(cache))
    found.update(Path("/opt").glob("rocm*"))
    found.update(Path("/usr/local").glob("cuda*"))
    return tuple({folder.resolve() for folder in found} - {Path("/")})


def _cached(cache: Path) -> list[str]:
    """The libraries in ldconfig's cache: the strings of that file that are paths of libraries."""
    try:
        parts = cache.read_bytes().split(b"\0")
    except OSError:  # musl has none
        return []
    return [os.fsdecode(part) for part in parts if part.startswith(b"/") and b".so" in part]
