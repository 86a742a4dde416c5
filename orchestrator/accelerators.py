"""Which of a stack's accelerators this machine has, and what is in the way of the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.platforms.gpus import Gpu, Obstacle
from schemas.records import Accelerator


@dataclass(frozen=True)
class Way:
    """One accelerator of a stack, on this machine.

    target: what builds for its GPU are made for, as gfx1151; None where one build fits all.
    obstacle: None if it can be used.
    """

    accelerator: Accelerator
    target: str | None = None
    gpu: Gpu | None = None
    obstacle: Obstacle | None = None


CPU = Way("cpu")


def ways(accelerators: Iterable[Accelerator], gpus: Sequence[Gpu]) -> list[list[Way]]:
    """In the stack's order of preference; of each accelerator the best GPU first.

    That is one that is ready, then the one with most memory of its own.
    """
    return [_ways(accelerator, gpus) for accelerator in accelerators]


def _ways(accelerator: Accelerator, gpus: Sequence[Gpu]) -> list[Way]:
    if accelerator == "cpu":
        return [CPU]
    able = [gpu for gpu in gpus if accelerator in gpu.uses]
    if not able:
        return [Way(accelerator, obstacle=Obstacle(f"no GPU here offers {accelerator}", ""))]
    able.sort(key=lambda one: (one.uses[accelerator] is None, one.memory_bytes or 0), reverse=True)
    return [Way(accelerator, gpu.target, gpu, gpu.uses[accelerator]) for gpu in able]
