"""What this machine has for speech recognition, what each stack would use, and what is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator import paths
from orchestrator.environments.choice import choose
from orchestrator.errors import AsrbenchError
from orchestrator.machine import describe_machine
from orchestrator.platforms import memory_counter
from orchestrator.platforms.gpus import Gpu, Obstacle, find_gpus, gfx_target
from orchestrator.selftest.record import standing
from orchestrator.stacks import Stack
from schemas.records import Accelerator

LOW_DISK_BYTES = 20 * 10**9  # an env with a torch for GPUs, and a checkpoint of 8 GB


@dataclass(frozen=True)
class StackChoice:
    """What a stack would use here. better: each accelerator that it likes more, and why not it."""

    stack: str
    accelerator: Accelerator | None
    better: dict[Accelerator, str]


@dataclass(frozen=True)
class Diagnosis:
    """All that `asrbench doctor` tells."""

    machine: dict[str, Any]
    memory_counter: str
    gpus: tuple[Gpu, ...]
    stacks: tuple[StackChoice, ...]
    missing: tuple[Obstacle, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def diagnose(stacks: Iterable[Stack]) -> Diagnosis:
    """Look at this machine; nothing is built, started or loaded."""
    gpus = find_gpus()
    return Diagnosis(
        machine=describe_machine(),
        memory_counter=memory_counter(),
        gpus=tuple(gpus),
        stacks=tuple(stack_choice(stack, gpus) for stack in stacks),
        missing=(
            *_of_gpus(gpus),
            *_of_override(gpus, os.environ.get("HSA_OVERRIDE_GFX_VERSION")),
            *_of_disks(paths.envs_home(), paths.cache_home()),
            *_of_test(),
        ),
    )


def stack_choice(stack: Stack, gpus: Sequence[Gpu]) -> StackChoice:
    """What the stack would be built for, and why not for what it likes more."""
    try:
        chain = choose(stack, gpus=gpus)
    except AsrbenchError as error:
        return StackChoice(stack.name, None, {stack.accelerators[0]: str(error)})
    return StackChoice(stack.name, chain.first.accelerator, chain.better(stack, chain.first))


def _of_gpus(gpus: Iterable[Gpu]) -> list[Obstacle]:
    return [
        Obstacle(f"{gpu.name}: {accelerator}: {obstacle.what}", obstacle.fix)
        for gpu in gpus
        for accelerator, obstacle in gpu.uses.items()
        if obstacle
    ]


def _of_override(gpus: Iterable[Gpu], override: str | None) -> list[Obstacle]:
    """ROCm then takes the GPU for another one, whose kernels its torch may not have."""
    targets = {gpu.target for gpu in gpus if gpu.target and "rocm" in gpu.uses}
    parts = (override or "").split(".")
    if not override or not targets or len(parts) != 3 or not all(map(str.isdigit, parts)):
        return []
    asked = gfx_target(int(parts[0]) * 10_000 + int(parts[1]) * 100 + int(parts[2]))
    if asked in targets:
        return []
    return [
        Obstacle(
            f"HSA_OVERRIDE_GFX_VERSION={override} makes ROCm use kernels for {asked}; found is "
            f"{', '.join(sorted(targets))}",
            "unset it: today's builds have kernels for the GPU itself",
        )
    ]


def _of_disks(envs: Path, cache: Path) -> list[Obstacle]:
    found = []
    free_bytes = shutil.disk_usage(_existing(envs)).free
    if free_bytes < LOW_DISK_BYTES:
        found.append(
            Obstacle(
                f"{free_bytes / 1e9:.0f} GB are free where envs are built ({envs})",
                "make room, or set ASRBENCH_HOME to a folder on a larger disk",
            )
        )
    uv_cache = Path(os.environ.get("UV_CACHE_DIR") or cache / "uv")
    if _existing(uv_cache).stat().st_dev != _existing(envs).stat().st_dev:
        found.append(
            Obstacle(
                f"envs ({envs}) and uv's cache ({uv_cache}) are on two disks: each env is a copy",
                "set UV_CACHE_DIR to a folder on the same disk, or ASRBENCH_HOME for both",
            )
        )
    return found


def _of_test() -> list[Obstacle]:
    _, hint = standing()
    what, _, fix = (hint or "").partition(": ")
    return [Obstacle(what, fix)] if hint else []


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.absolute().parents) if one.exists())
