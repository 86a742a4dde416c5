"""The packages of one env, by its locks: with hashes, from git by commit, and torch from its index.

Compiled here and never written at run time: load times do not depend on who was first, and an
env's files stay as they were proved.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from orchestrator import paths
from orchestrator.environments.lock import Lock
from orchestrator.environments.locks import Say
from orchestrator.environments.torch_lock import LOCK_FILE, lock_torch, torch_sources
from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError
from orchestrator.files import write_whole
from orchestrator.platforms import venv_python
from orchestrator.stacks import Stack


def install(stack: Stack, lock: Lock, minor: int, folder: Path, log: Path, say: Say) -> None:
    """Into the fresh virtualenv in folder, of Python 3.minor. Raises EnvError with uv's words."""
    with tempfile.TemporaryDirectory(prefix="asrbench-install-") as name:
        scratch = Path(name)
        _install_hashed(stack, lock, folder, scratch, log, say)
        if lock.from_git:
            _install_from_git(stack, lock, folder, scratch, log, say)
        if lock.torch:
            _install_torch(stack, lock, minor, folder, scratch, log, say)


def forget_torch(stack: Stack) -> None:
    """Let the next build resolve the stack's torch anew."""
    for file in _torch_locks().glob(f"{stack.name}-*.lock"):
        file.unlink(missing_ok=True)


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
    stack: Stack, lock: Lock, minor: int, folder: Path, scratch: Path, log: Path, say: Say
) -> None:
    """From its own index, by the hashes that it had when it was first seen here."""
    build = lock.torch_build
    assert build is not None
    # what is built from its sources finds setuptools in the env, and needs no other index for it
    sources = torch_sources(build, lock.torch, minor)
    where = [*sources, *_where(folder), "--no-build-isolation"]
    installed = _installed(folder)
    known = _torch_locks() / f"{stack.name}-{_identity(lock, minor, installed)}.lock"
    if known.exists():
        file = Path(shutil.copyfile(known, scratch / LOCK_FILE))
    else:
        file = lock_torch(stack, lock, installed, scratch, log, where)
    words = ["pip", "install", "--require-hashes", "--no-deps", "--compile-bytecode"]
    what = f"torch of stack {stack.name!r} cannot be installed"
    alone = build.index is not None
    variables = build.build_environment
    run_uv([*words, *where, "-r", str(file)], scratch, log, what, variables, alone=alone, say=say)
    shutil.copyfile(file, folder / LOCK_FILE)
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        write_whole(known, file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EnvError(f"cannot write {known}: {error.strerror}; set ASRBENCH_HOME") from error


def _identity(lock: Lock, minor: int, installed: list[str]) -> str:
    machine = [sys.platform, platform.machine(), minor]
    text = json.dumps([lock.sha256, *machine, sorted(installed)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _installed(folder: Path) -> list[str]:
    """Names of what is in the virtualenv."""
    places = [*folder.glob("lib/python3.*/site-packages"), *folder.glob("Lib/site-packages")]
    return [one.name for one in importlib.metadata.distributions(path=[str(one) for one in places])]


def _torch_locks() -> Path:
    return paths.envs_home() / ".torch-locks"


def _where(folder: Path) -> list[str]:
    return ["--python", str(venv_python(folder))]
