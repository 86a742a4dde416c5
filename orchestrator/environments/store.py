"""The built envs on disk: how they are named, found and removed.

An env's name holds a hash of what went into it, so an env is never changed, only replaced; its
marker is written last, so a folder with a marker is whole. What is not in its place begins with a
dot: .new- is being built, .old- was replaced and comes back if that fails, .gone- was removed.
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
import uuid
from pathlib import Path
from typing import Literal

from orchestrator import paths
from orchestrator.environments.env import Env
from orchestrator.environments.lock import Lock, allowed_minors
from orchestrator.environments.locks import hold_env, only_if_free, refuse_if_used
from orchestrator.environments.uv import uv_version
from orchestrator.errors import EnvError
from orchestrator.stacks import Stack

MARKER = "asrbench-env.json"
_KINDS = (".old-", ".new-", ".gone-")
RENAME_TRIES = 10  # antivirus programs hold fresh files for a moment on Windows


def find_env(stack: Stack, accelerator: str, lock: Lock) -> Env | None:
    """The built env for this lock, without starting anything."""
    for minor in _preferred_minors(stack):
        folder = paths.envs_home() / folder_name(stack, accelerator, lock, minor)
        env = read_env(folder) or _put_back(folder)
        if env:
            return env
    return None


def likely_minor(stack: Stack, accelerator: str, lock: Lock) -> int:
    """Of the Python that the env has, or will have if it is not built yet."""
    env = find_env(stack, accelerator, lock)
    return env.minor if env else _preferred_minors(stack)[0]


def _put_back(place: Path) -> Env | None:
    """The old env, if its builder was killed while it put the new one in its place."""
    if any(place.parent.glob(f".old-{place.name}-*")):
        with contextlib.suppress(OSError), only_if_free(place.name) as free:
            if free:
                clear_up(place)
                return read_env(place)
    return None


def clear_up(place: Path) -> list[Path]:
    """Undo what a killed or failed builder began; returns what was deleted.

    Call while holding the env. An old env is not deleted as long as none is in its place.
    """
    found = []
    for folder in _beside(place):
        # by its existence, as what it says may be unreadable for a moment
        whole = folder.name.startswith(".old-") and os.path.lexists(folder / MARKER)
        if whole and not read_env(place):
            with contextlib.suppress(OSError):
                folder.rename(place)
            continue
        delete(folder)
        if not os.path.lexists(folder):
            found.append(folder)
    return found


def put_in_place(fresh: Path, place: Path) -> None:
    """Replace the env, if there is one. Call while holding it. EnvError leaves the old one."""
    old = beside(place, "old")
    try:
        if place.exists():
            rename(place, old)
        rename(fresh, place)
    except BaseException:
        if old.exists() and not place.exists():
            rename(old, place)
        raise
    delete(old)


def beside(place: Path, state: Literal["new", "old", "gone"]) -> Path:
    """A name of its own for a folder that is not, or no more, the env in that place."""
    return place.with_name(f".{state}-{place.name}-{uuid.uuid4().hex[:8]}")


def _beside(place: Path) -> list[Path]:
    return [one for kind in _KINDS for one in place.parent.glob(f"{kind}{place.name}-*")]


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
        clear_up(env.folder)
        for old in env.folder.parent.glob(f".old-{env.folder.name}-*"):  # it would come back
            raise EnvError(f"cannot delete {old}; is it in use?")
        doomed = beside(env.folder, "gone")
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


def clear_up_all() -> list[Path]:
    """After builders and removers that were killed, where none is at work; see clear_up()."""
    home = paths.envs_home()
    left = [one for kind in _KINDS for one in home.glob(f"{kind}*")]
    found = []
    for name in {one.name.partition("-")[2].rpartition("-")[0] for one in left} - {""}:
        with only_if_free(name) as free:
            found += clear_up(home / name) if free else []
    return sorted(found)


def rename(source: Path, target: Path) -> None:
    """Rename a folder; EnvError if something keeps it from being renamed."""
    for attempt in range(RENAME_TRIES):
        try:
            source.rename(target)
            return
        except OSError as error:
            if attempt == RENAME_TRIES - 1 or not isinstance(error, PermissionError):
                raise EnvError(
                    f"cannot rename {source} to {target.name}: {error.strerror}; is it in use?"
                ) from error
            time.sleep(0.1 * (attempt + 1))


def delete(folder: Path) -> None:
    """Delete a folder as far as it can be deleted; what stays is in nobody's way."""
    try:  # first: half of an env is not to be taken for one
        (folder / MARKER).unlink(missing_ok=True)
    except OSError:
        return
    shutil.rmtree(folder, ignore_errors=True)
