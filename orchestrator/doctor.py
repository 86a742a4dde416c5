"""What this machine has for speech recognition, what each stack would use, and what is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator import paths
from orchestrator.accelerators import ways
from orchestrator.environments.build import choose_accelerator
from orchestrator.errors import EnvError
from orchestrator.machine import describe_machine
from orchestrator.platforms import memory_counter
from orchestrator.platforms.gpus import Gpu, Obstacle, find_gpus
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
        missing=(*_of_gpus(gpus), *_of_disks(paths.envs_home(), paths.cache_home()), *_of_test()),
    )


def stack_choice(stack: Stack, gpus: Sequence[Gpu]) -> StackChoice:
    """What the stack would be built for, and why not for what it likes more."""
    try:
        chosen = choose_accelerator(stack)
    except EnvError as error:
        return StackChoice(stack.name, None, {stack.accelerators[0]: str(error)})
    better: dict[Accelerator, str] = {}
    for way in ways(stack.accelerators, gpus):
        if way.accelerator == chosen:
            break
        in_the_way = way.obstacle.what if way.obstacle else "asrbench builds no env for it yet"
        better[way.accelerator] = in_the_way
    return StackChoice(stack.name, chosen, better)


def _of_gpus(gpus: Iterable[Gpu]) -> list[Obstacle]:
    return [
        Obstacle(f"{gpu.name}: {accelerator}: {obstacle.what}", obstacle.fix)
        for gpu in gpus
        for accelerator, obstacle in gpu.uses.items()
        if obstacle
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
