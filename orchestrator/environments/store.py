"""The built envs on disk: how they are named, found and removed.

An env's name holds a hash of what went into it, so an env is never changed, only replaced; its
marker is written last, so a folder with a marker is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path

import psutil

from orchestrator import paths
from orchestrator.environments.env import Env
from orchestrator.environments.lock import Lock, allowed_minors
from orchestrator.environments.locks import hold_env, only_if_free, refuse_if_used
from orchestrator.environments.uv import uv_version
from orchestrator.errors import EnvError
from orchestrator.stacks import Stack

MARKER = "asrbench-env.json"
RENAME_TRIES = 10  # antivirus programs hold fresh files for a moment on Windows


def find_env(stack: Stack, accelerator: str, lock: Lock) -> Env | None:
    """The built env for this lock, without starting anything."""
    for minor in _preferred_minors(stack):
        folder = paths.envs_home() / folder_name(stack, accelerator, lock, minor)
        env = read_env(folder) or _restored(folder)
        if env:
            return env
    return None


def likely_minor(stack: Stack, accelerator: str, lock: Lock) -> int:
    """Of the Python that the env has, or will have if it is not built yet."""
    env = find_env(stack, accelerator, lock)
    return env.minor if env else _preferred_minors(stack)[0]


def _restored(folder: Path) -> Env | None:
    """The old env, if its builder was killed while it put the new one in its place."""
    for old in folder.parent.glob(f".old-{folder.name}-*"):
        if read_env(old) and not _lives(old.name.rpartition("-")[2]):
            with contextlib.suppress(OSError), only_if_free(folder.name) as free:
                if free:
                    old.rename(folder)
            return read_env(folder)
    return None


def read_env(folder: Path) -> Env | None:
    """What an env's marker says; None where there is no whole env."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return Env(
            folder=folder,
            stack=marker["stack"],
            accelerator=marker["accelerator"],
            python_version=marker["python"],
            lock_sha256=marker["lock_sha256"],
            build_s=marker["build_s"],
            target=marker.get("target"),
            torch_table=Path(marker["torch_table"]) if marker.get("torch_table") else None,
            stack_folder=Path(marker["stack_folder"]) if "stack_folder" in marker else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def list_envs() -> list[Env]:
    """All built envs, also those of older locks."""
    # a name with a dot in front is being built or deleted
    found = (read_env(marker.parent) for marker in paths.envs_home().glob(f"[!.]*/{MARKER}"))
    return sorted((env for env in found if env), key=lambda env: env.folder.name)


def remove_env(env: Env) -> None:
    """Delete an env, at once from the point of view of others."""
    with hold_env(env.folder.name, lambda _: None):
        refuse_if_used(env.folder.name)
        doomed = env.folder.with_name(f".old-{env.folder.name}-{os.getpid()}")
        if env.folder.exists():  # or another process was faster
            rename(env.folder, doomed)
            delete(doomed)


def _preferred_minors(stack: Stack) -> list[int]:
    minors = allowed_minors(stack)
    own = sys.version_info.minor
    return [own] if own in minors else minors[::-1]


def folder_name(stack: Stack, accelerator: str, lock: Lock, minor: int) -> str:
    """An env's name, by what goes in: stack, accelerator, lock, Python, uv, machine."""
    machine = f"{sys.platform}-{platform.machine()}"
    went_in = "\n".join([str(stack.folder), lock.sha256, f"3.{minor}", uv_version(), machine])
    return f"{stack.name}-{accelerator}-{hashlib.sha256(went_in.encode()).hexdigest()[:12]}"


def abandoned_builds() -> list[Path]:
    """Folders of builds and removals whose process is gone, and that nobody is at work on."""
    for old in paths.envs_home().glob(".old-*"):  # whole, if its builder was killed at its end
        place = paths.envs_home() / _name_of(old)
        if not place.exists():
            _restored(place)
    folders = [*paths.envs_home().glob(".new-*"), *paths.envs_home().glob(".old-*")]
    gone = [one for one in folders if not _lives(one.name.rpartition("-")[2])]
    # a process of another container has an id that says nothing here, but the lock is one
    found = []
    for one in gone:
        with only_if_free(_name_of(one)) as free:
            found += [one] if free else []
    return found


def _name_of(abandoned: Path) -> str:
    """Of the env that .new-NAME-PID or .old-NAME-PID was to be, or was."""
    return abandoned.name[len(".new-") :].rpartition("-")[0]


def _lives(pid: str) -> bool:
    return pid.isascii() and pid.isdigit() and psutil.pid_exists(int(pid))


def rename(source: Path, target: Path) -> None:
    """Rename a folder; EnvError if something keeps it from being renamed."""
    for attempt in range(RENAME_TRIES):
        try:
            source.rename(target)
            return
        except PermissionError as error:
            if attempt == RENAME_TRIES - 1:
                raise EnvError(
                    f"cannot rename {source} to {target.name}: {error.strerror}; is it in use?"
                ) from error
            time.sleep(0.1 * (attempt + 1))


def delete(folder: Path) -> None:
    """Delete a folder as far as it can be deleted; what stays is in nobody's way."""
    with contextlib.suppress(OSError):  # first: half of an env is not to be taken for one
        (folder / MARKER).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
