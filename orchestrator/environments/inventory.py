"""What is built, for which stack, and how large it is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.environments.build import choose_accelerator
from orchestrator.environments.env import Env
from orchestrator.environments.lock import read_lock
from orchestrator.environments.store import find_env, list_envs
from orchestrator.errors import AsrbenchError
from orchestrator.stacks import Stack


@dataclass(frozen=True)
class Item:
    """A stack's env, or an env that no stack's lock asks for any more."""

    stack: str
    accelerator: str
    state: str
    env: Env | None
    size_bytes: int | None


def inventory(stacks: dict[str, Stack]) -> list[Item]:
    """Every stack first, then what is left over."""
    current = [_item(stack) for stack in stacks.values()]
    used = {item.env.folder for item in current if item.env}
    left_over = (env for env in list_envs() if env.folder not in used)
    return current + [
        Item(env.stack, env.accelerator, "outdated", env, _size(env.folder)) for env in left_over
    ]


def _item(stack: Stack) -> Item:
    try:
        accelerator = choose_accelerator(stack)
        lock = read_lock(stack, accelerator)
    except AsrbenchError as error:
        return Item(stack.name, "", str(error), None, None)
    if lock is None:
        return Item(stack.name, accelerator, "not locked", None, None)
    env = find_env(stack, accelerator, lock)
    if env is None:
        return Item(stack.name, accelerator, "not built", None, None)
    return Item(stack.name, accelerator, "built", env, _size(env.folder))


def _size(folder: Path) -> int:
    """Sum of file sizes; hard links shared with the cache and other envs count in each."""
    return sum(entry.stat(follow_symlinks=False).st_size for entry in _files(folder))


def _files(folder: Path) -> Iterable[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry
