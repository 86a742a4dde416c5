"""What is built, for which stack, and how large it is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.accelerators import Way
from orchestrator.environments.choice import choose
from orchestrator.environments.env import Env
from orchestrator.environments.lock import read_lock
from orchestrator.environments.store import find_env, list_envs
from orchestrator.environments.torch_builds import table_file
from orchestrator.errors import AsrbenchError
from orchestrator.platforms.gpus import Gpu, find_gpus
from orchestrator.stacks import Stack, read_stack


@dataclass(frozen=True)
class Size:
    """Of an env's files. shared: hard links, which uv's cache or other envs have as well."""

    total_bytes: int
    shared_bytes: int


@dataclass(frozen=True)
class Item:
    """A stack's env, or an env that no stack's lock asks for any more."""

    stack: str
    accelerator: str
    state: str
    env: Env | None
    size: Size | None


def inventory(stacks: dict[str, Stack]) -> list[Item]:
    """Every stack first, then what is left over."""
    gpus = find_gpus()
    current = [item for stack in stacks.values() for item in _items(stack, gpus)]
    used = {item.env.folder for item in current if item.env}
    left_over = (env for env in list_envs() if env.folder not in used)
    return current + [
        Item(env.stack, env.accelerator, _state(env), env, size_of(env.folder)) for env in left_over
    ]


def _state(env: Env) -> str:
    return "built, not used here now" if _is_asked_for(env) else "outdated"


def _items(stack: Stack, gpus: Sequence[Gpu]) -> list[Item]:
    """Of what the stack would use here, and of what is built for its other accelerators."""
    try:
        chain = choose(stack, gpus=gpus)
        found = [_item(stack, way) for way in chain.ways]
    except AsrbenchError as error:
        return [Item(stack.name, "", str(error), None, None)]
    return [found[0], *(item for item in found[1:] if item.env)]


def _item(stack: Stack, way: Way) -> Item:
    lock = read_lock(stack, way)
    if lock is None:
        return Item(stack.name, way.accelerator, "not locked", None, None)
    env = find_env(stack, way.accelerator, lock)
    if env is None:
        return Item(stack.name, way.accelerator, "not built", None, None)
    return Item(stack.name, way.accelerator, "built", env, size_of(env.folder))


def unneeded() -> list[Env]:
    """Envs that the stack which they were built for does not ask for any more.

    One whose files are wrong just now, or that has no lock, is being worked on: its env stays.
    """
    return [env for env in list_envs() if not _is_asked_for(env)]


def _is_asked_for(env: Env) -> bool:
    """In doubt it is: its disk may not be there just now, or its GPU, or another table's torch."""
    folder = env.stack_folder
    if folder is None or not folder.parent.is_dir() or not any(folder.parent.iterdir()):
        return True
    if env.torch_table and env.torch_table != table_file() and env.torch_table.exists():
        return True
    try:
        stack = read_stack(folder)
        lock = read_lock(stack, Way(env.accelerator, env.target))
    except AsrbenchError:
        return folder.is_dir()
    if lock is None:
        return True
    if lock.sha256 != env.lock_sha256:
        return False
    current = find_env(stack, env.accelerator, lock)
    # built by another uv, which took its place; another controller's Python has one of its own
    return current is None or current == env or current.minor != env.minor


def size_of(folder: Path) -> Size:
    """On disk it takes total - shared, if nothing else is deleted."""
    total = shared = 0
    for file in _files(folder):
        stat = os.lstat(file)  # an entry's own has no count of links on Windows
        total += stat.st_size
        shared += stat.st_size if stat.st_nlink > 1 else 0
    return Size(total, shared)


def _files(folder: Path) -> Iterable[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry
