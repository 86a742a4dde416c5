"""The packages of one env, by its locks: with hashes, from git by commit, and torch from its index.

Compiled here and never written at run time: load times do not depend on who was first, and an
env's files stay as they were proved.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from orchestrator.environments.lock import Lock
from orchestrator.environments.locks import Say
from orchestrator.environments.torch_lock import lock_torch
from orchestrator.environments.uv import run_uv
from orchestrator.platforms import venv_python
from orchestrator.stacks import Stack


def install(stack: Stack, lock: Lock, folder: Path, log: Path, say: Say) -> None:
    """Into the fresh virtualenv in folder. Raises EnvError with uv's words."""
    with tempfile.TemporaryDirectory(prefix="asrbench-install-") as name:
        scratch = Path(name)
        _install_hashed(stack, lock, folder, scratch, log, say)
        if lock.from_git:
            _install_from_git(stack, lock, folder, scratch, log, say)
        if lock.torch:
            _install_torch(stack, lock, folder, scratch, log, say)


def _install_hashed(
    stack: Stack, lock: Lock, folder: Path, scratch: Path, log: Path, say: Say
) -> None:
    file = scratch / "hashed.txt"
    file.write_text(lock.hashed, encoding="utf-8")
    sync = ["pip", "sync", "--require-hashes", "--compile-bytecode", "--allow-empty-requirements"]
    what = f"the env of stack {stack.name!r} cannot be built"
    run_uv([*sync, *_where(folder), str(file)], scratch, log, what, say=say)


def _install_from_git(
    stack: Stack, lock: Lock, folder: Path, scratch: Path, log: Path, say: Say
) -> None:
    file = scratch / "git.txt"
    file.write_text("".join(lock.from_git), encoding="utf-8")
    words = ["pip", "install", "--no-deps", "--compile-bytecode", *_where(folder), "-r", str(file)]
    what = f"what stack {stack.name!r} takes from git cannot be installed"
    run_uv(words, scratch, log, what, say=say)


def _install_torch(
    stack: Stack, lock: Lock, folder: Path, scratch: Path, log: Path, say: Say
) -> None:
    """From its own index; what was locked of it stays in the env's folder."""
    build = lock.torch_build
    assert build is not None
    # what is built from its sources finds setuptools in the env, and needs no other index for it
    where = [*_where(folder), "--no-build-isolation"]
    file, sources = lock_torch(stack, lock, scratch, log, where)
    words = ["pip", "install", "--require-hashes", "--no-deps", "--compile-bytecode"]
    words += [*sources, *where, "-r", str(file)]
    what = f"torch of stack {stack.name!r} cannot be installed"
    alone = build.index is not None
    run_uv(words, scratch, log, what, build.build_environment, alone=alone, say=say)
    shutil.copyfile(file, folder / file.name)


def _where(folder: Path) -> list[str]:
    return ["--python", str(venv_python(folder))]
