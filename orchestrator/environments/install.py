"""The packages of one env, by its locks: with hashes, from git by commit, and torch from its index.

They are compiled here and never at run time: load times do not depend on who was first, and an
env's files stay as they were proved.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.environments.bytecode import compile_all
from orchestrator.environments.env import site_packages
from orchestrator.environments.lock import Lock, source_build_identity
from orchestrator.environments.locks import Say
from orchestrator.environments.torch_lock import LOCK_FILE, lock_torch, torch_sources
from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError
from orchestrator.files import write_whole
from orchestrator.platforms import venv_python
from orchestrator.stack_file import SourceBuild
from orchestrator.stacks import Stack


@dataclass(frozen=True)
class _Job:
    """What is installed where. env: a fresh virtualenv, of Python 3.minor."""

    stack: Stack
    lock: Lock
    minor: int
    env: Path
    scratch: Path
    log: Path
    say: Say

    @property
    def where(self) -> list[str]:
        return ["--python", str(venv_python(self.env))]

    def uv(self, words: list[str], what: str, variables: Mapping[str, str] | None = None) -> None:
        run_uv([*words, *self.where], self.scratch, self.log, what, variables, say=self.say)


def install(stack: Stack, lock: Lock, minor: int, folder: Path, log: Path, say: Say) -> None:
    """Into the fresh virtualenv in folder, of Python 3.minor. Raises EnvError with uv's words."""
    scratch = folder / ".asrbench-install"  # goes with the folder, if this is killed
    scratch.mkdir()
    job = _Job(stack, lock, minor, folder, scratch, log, say)
    _install_hashed(job)
    if lock.from_git:
        _install_from_git(job)
    if lock.torch:
        _install_torch(job)
    compile_all(folder, scratch)
    shutil.rmtree(scratch)


def forget_torch(stack: Stack) -> None:
    """Let the next build resolve the stack's torch anew."""
    own = re.compile(re.escape(stack.name) + r"-[0-9a-f]{12}\.lock")
    for file in _torch_locks().glob("*.lock"):
        if own.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _install_hashed(job: _Job) -> None:
    file = job.scratch / "hashed.txt"
    file.write_text(job.lock.hashed, encoding="utf-8")
    sync = ["pip", "sync", "--require-hashes", "--allow-empty-requirements", str(file)]
    what = f"the env of stack {job.stack.name!r} cannot be built"
    build = job.lock.source_build
    if build is None:
        job.uv(sync, what)
    else:
        job.uv([*sync, *_compiled(build)], what, build.environment)


def _compiled(build: SourceBuild) -> list[str]:
    """uv's words for packages that are built from their locked sources.

    uv keeps what it built, and would take it for a build with other variables: it tells apart only
    what has other settings. So there is one that no package knows.
    """
    key = hashlib.sha256(source_build_identity(build).encode()).hexdigest()[:12]
    return [
        word
        for package in build.packages
        for word in (
            *("--no-binary", package),
            *("--config-settings-package", f"{package}:asrbench-build={key}"),
        )
    ]


def _install_from_git(job: _Job) -> None:
    file = job.scratch / "git.txt"
    file.write_text("".join(job.lock.from_git), encoding="utf-8")
    install = ["pip", "install", "--no-deps", "-r", str(file)]
    job.uv(install, f"what stack {job.stack.name!r} takes from git cannot be installed")


def _install_torch(job: _Job) -> None:
    """From its own index, by the hashes that it had when it was first seen here."""
    build = job.lock.torch_build
    assert build is not None
    # what is built from its sources finds setuptools in the env, and needs no other index for it
    sources = torch_sources(build, job.lock.torch, job.minor)
    where = [*sources, *job.where, "--no-build-isolation"]
    installed = _installed(job.env)
    known = _torch_locks() / f"{job.stack.name}-{_identity(job.lock, job.minor, installed)}.lock"
    if known.exists():
        file = Path(shutil.copyfile(known, job.scratch / LOCK_FILE))
    else:
        file = lock_torch(job.stack, job.lock, installed, job.scratch, job.log, where)
    run_uv(
        ["pip", "install", "--require-hashes", "--no-deps", *where, "-r", str(file)],
        job.scratch,
        job.log,
        f"torch of stack {job.stack.name!r} cannot be installed",
        build.build_environment,
        alone=build.index is not None,
        say=job.say,
    )
    shutil.copyfile(file, job.env / LOCK_FILE)
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
    places = [str(one) for one in site_packages(folder)]
    return [one.name for one in importlib.metadata.distributions(path=places)]


def _torch_locks() -> Path:
    return paths.envs_home() / ".torch-locks"
