"""Whether a stack's locks can be installed on machines that this one is not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.accelerators import Way
from orchestrator.environments.causes import UNREACHABLE
from orchestrator.environments.lock import MACOS, Lock, allowed_minors, lock_file, read_lock
from orchestrator.environments.torch_builds import (
    TorchBuild,
    torch_build_anywhere,
    torch_ranges,
)
from orchestrator.environments.torch_lock import torch_sources
from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError
from orchestrator.stacks import Stack
from schemas.records import Accelerator


@dataclass(frozen=True)
class Platform:
    """uv_name: of Linux any from glibc 2.28 (2018) on."""

    system: str
    machine: str
    uv_name: str
    accelerators: tuple[Accelerator, ...]


PLATFORMS = {
    "Linux x86-64": Platform(
        "linux", "x86_64", "x86_64-manylinux_2_28", ("cpu", "cuda", "rocm", "vulkan")
    ),
    "Windows x86-64": Platform(
        "win32", "amd64", "x86_64-pc-windows-msvc", ("cpu", "cuda", "rocm", "directml", "vulkan")
    ),
    "macOS arm64": Platform("darwin", "arm64", "aarch64-apple-darwin", ("cpu", "mps")),
}


@dataclass(frozen=True)
class Elsewhere:
    """One platform, accelerator and Python.

    lacks: uv's words if the lock cannot be installed there. unknown: because an index was not
    reached.
    """

    platform: str
    accelerator: Accelerator
    python: str
    lacks: str | None

    @property
    def unknown(self) -> bool:
        """Whether it may well be there."""
        return self.lacks is not None and UNREACHABLE in self.lacks


def check_elsewhere(stack: Stack, unreached: dict[str, str]) -> Iterator[Elsewhere]:
    """Ask for every locked package's wheel, on each platform with each Python of the stack.

    Accelerators that share a lock, and need no torch, are asked for once. Nothing is downloaded
    but what the index tells of them. unreached: uv's words of each torch index that was not
    reached, which takes a while and is tried once. Raises EnvError for a lock that is missing.
    """
    log = paths.envs_home() / "logs" / f"{stack.name}-platforms.log"
    for name, platform in PLATFORMS.items():
        asked: set[Path] = set()
        for accelerator in stack.accelerators:
            lock = read_lock(stack, Way(accelerator))
            if lock is None:
                raise EnvError(f"it has no lock for {accelerator}; asrbench env lock {stack.name}")
            file = lock_file(stack, accelerator)
            if accelerator not in platform.accelerators or (file in asked and not lock.torch):
                continue
            asked.add(file)
            ranges = torch_ranges(stack.requirements(accelerator))
            build = torch_build_anywhere(accelerator, platform.system, ranges)
            for minor in allowed_minors(stack):
                python = f"3.{minor}"
                sources = _torch_sources(lock, build, platform, minor)
                index = sources[-1] if "--default-index" in sources else None
                lacks = unreached.get(index) if index else None
                lacks = lacks or _lacks(lock, build, sources, platform, python, log)
                found = Elsewhere(name, accelerator, python, lacks)
                if index and found.unknown:
                    unreached[index] = str(lacks)
                yield found


def _torch_sources(
    lock: Lock, build: TorchBuild | None, platform: Platform, minor: int
) -> list[str]:
    if not lock.torch or build is None:
        return []
    return torch_sources(build, lock.torch, minor, platform.system, platform.machine)


def _lacks(
    lock: Lock,
    build: TorchBuild | None,
    sources: list[str],
    platform: Platform,
    python: str,
    log: Path,
) -> str | None:
    if lock.torch and build is None:
        return "accelerators.toml has no torch for it"
    with tempfile.TemporaryDirectory(prefix="asrbench-platforms-") as empty:
        base = ["pip", "install", "--dry-run", "--no-deps", "--only-binary", ":all:"]
        base += [
            "--python-platform",
            platform.uv_name,
            "--python-version",
            python,
            "--target",
            empty,
        ]
        try:
            hashed = Path(empty) / "hashed.txt"
            hashed.write_text(lock.hashed, encoding="utf-8")
            arguments = [*base, "--require-hashes", "-r", str(hashed)]
            run_uv(arguments, Path(empty), log, "cannot be installed", MACOS)
            if lock.torch and build:
                arguments = [*base, *sources]
                arguments += [f"{name}==={build.versions[name]}" for name in lock.torch]
                alone = build.index is not None
                run_uv(arguments, Path(empty), log, "cannot be installed", MACOS, alone=alone)
        except EnvError as error:
            return error.log_tail or str(error)
    return None
