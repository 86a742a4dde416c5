"""Who may touch an env now: one builder or remover, any number of runs that use it.

uv's own lock gives up after a while and goes on without. These are file locks of the operating
system, so the death of their holder releases them.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from orchestrator import paths
from orchestrator.environments.env import Env
from orchestrator.errors import EnvError

WAIT_FOR_BUILDER_S = 3600.0

Say = Callable[[str], None]


@contextlib.contextmanager
def hold_env(name: str, say: Say) -> Iterator[None]:
    """Be the one process that changes the env of that name; waits for another one."""
    lock = filelock.FileLock(_folder() / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"{name}: another asrbench is at work on it; waiting")
        try:
            lock.acquire(timeout=WAIT_FOR_BUILDER_S)
        except filelock.Timeout:
            raise EnvError(f"{name}: another asrbench has been at work on it for an hour") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def only_if_free(name: str) -> Iterator[bool]:
    """Hold the env of that name if no process changes it just now; says whether."""
    lock = filelock.FileLock(_folder() / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextlib.contextmanager
def use_env(env: Env, say: Say) -> Iterator[None]:
    """Keep an env from being replaced or removed meanwhile. EnvError if that has just happened."""
    name = env.folder.name
    try:
        file = _folder() / f"{name}.use-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        lock = filelock.FileLock(file)
        with hold_env(name, say):
            _users(name)  # removes what killed runs left
            lock.acquire(timeout=0)
    except OSError as error:  # a home that only an administrator may write
        say(f"{name}: used without a lock, as {paths.envs_home()} says: {error.strerror}")
        yield
        return
    try:
        if not env.folder.exists():
            raise EnvError(f"{name} was removed just now; run again")
        yield
    finally:
        lock.release()
        file.unlink(missing_ok=True)


def refuse_if_used(name: str) -> None:
    """Raises EnvError naming a process that uses the env. Call while holding it."""
    users = _users(name)
    if users:
        raise EnvError(f"{name} is in use by a run (process {users[0]}); wait for it or stop it")


def _users(name: str) -> list[str]:
    """Processes that use the env. Locks of dead ones are removed."""
    found = []
    for file in _folder().glob(f"{name}.use-*"):
        lock = filelock.FileLock(file)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            found.append(file.name.rpartition(".use-")[2].partition("-")[0])
            continue
        lock.release()
        file.unlink(missing_ok=True)
    return found


def _folder() -> Path:
    folder = paths.envs_home() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
