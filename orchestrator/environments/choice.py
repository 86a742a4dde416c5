"""What a stack is built for on this machine: its chain of accelerators, best first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orchestrator.accelerators import Way, ways
from orchestrator.environments.lock import read_lock
from orchestrator.environments.torch_builds import (
    family,
    in_words,
    offers,
    torch_build,
    torch_ranges,
)
from orchestrator.errors import EnvError, StackError
from orchestrator.platforms.gpus import Gpu, Obstacle, find_gpus
from orchestrator.stacks import Stack
from schemas.records import Accelerator

Asked = Accelerator | Literal["auto"]


@dataclass(frozen=True)
class Chain:
    """What to try, in this order; and of what is not tried, why."""

    ways: tuple[Way, ...]
    not_tried: dict[Accelerator, str] = field(default_factory=dict)

    @property
    def first(self) -> Way:
        """What an env is built for if nothing fails."""
        return self.ways[0]

    def better(self, stack: Stack, way: Way) -> dict[Accelerator, str]:
        """Of what is not tried, what the stack likes more than this one."""
        liked = stack.accelerators[: stack.accelerators.index(way.accelerator)]
        return {name: why for name, why in self.not_tried.items() if name in liked}


def choose(stack: Stack, asked: Asked = "auto", gpus: Sequence[Gpu] | None = None) -> Chain:
    """The accelerators of the stack that this machine has; if one is asked for, that or none.

    Raises EnvError if nothing is left, with what is in the way and how to mend it.
    """
    if asked != "auto" and asked not in stack.accelerators:
        raise EnvError(
            f"stack {stack.name!r} has no build for {asked}; it has builds for: "
            f"{', '.join(stack.accelerators)}"
        )
    wanted = stack.accelerators if asked == "auto" else (asked,)
    possible = ways(wanted, find_gpus() if gpus is None else gpus)
    found = [_best([_with_torch(stack, way) for way in one]) for one in possible]
    usable = tuple(way for way in found if way.obstacle is None)
    others = {way.accelerator: way.obstacle for way in found if way.obstacle}
    if not usable:
        said = [
            f"{name}: {one.what}" + (f"; {one.fix}" if one.fix else "")
            for name, one in others.items()
        ]
        raise EnvError(f"stack {stack.name!r} cannot run here: " + "\n".join(said))
    return Chain(usable, {name: one.what for name, one in others.items()})


def no_torch(stack: Stack, way: Way) -> str:
    """Why there is none, in words."""
    gpu = f" for {way.target}" if way.target else ""
    none = f"accelerators.toml has no torch for {way.accelerator}{gpu} on {sys.platform}"
    if torch_build(way.accelerator, way.target, {}) is None:
        return none
    ranges = torch_ranges(stack.requirements(way.accelerator))
    there = offers(ranges, way.accelerator, sys.platform)
    return f"{none} that is {in_words(ranges)}; for it there is: {there}"


def _best(of_one: list[Way]) -> Way:
    """The first GPU that nothing is in the way of, else the first."""
    return next((way for way in of_one if way.obstacle is None), of_one[0])


def _with_torch(stack: Stack, way: Way) -> Way:
    """The way, with an obstacle if the stack needs a torch that the table does not have."""
    if way.obstacle:
        return way
    try:
        lock = read_lock(stack, way)
    except StackError:  # said when the env is built
        return way
    asked = stack.requirements(way.accelerator)
    needs = lock.torch if lock else family() & {_name(text) for text in asked}
    if not needs or torch_build(way.accelerator, way.target, torch_ranges(asked)):
        return way
    return replace(way, obstacle=Obstacle(no_torch(stack, way), ""))


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)
