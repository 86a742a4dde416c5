"""Building an env: from the lock into a temporary folder, proved from inside, then renamed.

So an env is whole or absent, a failed rebuild leaves the old one working, and one env's build
touches no other.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator import paths
from orchestrator.accelerators import Way
from orchestrator.environments.choice import no_torch
from orchestrator.environments.contradictions import check_requirements
from orchestrator.environments.distributions import distributions
from orchestrator.environments.env import Env, Proof
from orchestrator.environments.install import install
from orchestrator.environments.lock import Lock, allowed_minors, make_lock, read_lock
from orchestrator.environments.locks import Say, hold_env, refuse_if_used
from orchestrator.environments.sources import package_sources
from orchestrator.environments.store import (
    MARKER,
    beside,
    clear_up,
    find_env,
    folder_name,
    put_in_place,
    read_env,
)
from orchestrator.environments.torch_builds import table_file
from orchestrator.environments.uv import run_uv, uv_version
from orchestrator.errors import EnvError
from orchestrator.platforms import venv_python
from orchestrator.stacks import Stack
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.worker import Worker

PROOF_TIMEOUT_S = 300.0  # a first import of a large stack reads it from a cold disk


def ensure_env(stack: Stack, way: Way, say: Say) -> Env:
    """The env for the stack's lock, built if it is not there. Raises EnvError or StackError."""
    lock = ensure_lock(stack, way, say)
    env = find_env(stack, way.accelerator, lock)
    if env is None:
        env = _build(stack, way, lock, say)
    return replace(env, variables=lock.variables)


def rebuild_env(stack: Stack, way: Way, say: Say) -> Env:
    """Build the env anew; the old one serves until the new one is proved."""
    return _build(stack, way, ensure_lock(stack, way, say), say, anew=True)


def prove_env(
    stack: Stack, accelerator: str, folder: Path, log: Path, variables: Mapping[str, str]
) -> Proof:
    """Hello and import from inside, with every model's options, and nothing from outside.

    variables: that its workers run with. Raises EnvError.
    """
    first = stack.models[0]
    spec = WorkerSpec(
        python=venv_python(folder),
        env=folder,
        worker=stack.worker_address,
        options=first.options,
        transcribe_options=first.transcribe_options,
        checkpoint=None,
        device=accelerator,
        variables=dict(variables),
    )
    try:
        worker = Worker(spec, log)
        try:
            worker.prove(
                [(model.options, model.transcribe_options) for model in stack.models],
                PROOF_TIMEOUT_S,
            )
            isolation = worker.trace(PROOF_TIMEOUT_S)
        finally:
            worker.close()
    except WorkerFault as fault:
        raise EnvError(f"the env of stack {stack.name!r} does not work: {fault.message}") from fault
    if isolation.leaks:
        raise EnvError(
            f"the env of stack {stack.name!r} is not closed: {'; '.join(isolation.leaks)}\n"
            f"all that a worker loads has to be in {folder}; asrbench env rebuild {stack.name}"
        )
    check_requirements(stack, accelerator, folder, log)
    return Proof(distributions(worker.packages), isolation.system_libraries)


def ensure_lock(stack: Stack, way: Way, say: Say) -> Lock:
    """The stack's lock, made if there is none, which is said."""
    lock = read_lock(stack, way)
    if lock is None:
        say(f"{stack.name}: has no lock yet; locking its dependencies")
        lock = make_lock(stack, way)
        say(f"{stack.name}: wrote {lock.file}")
    return lock


def _build(stack: Stack, way: Way, lock: Lock, say: Say, anew: bool = False) -> Env:
    home, accelerator = paths.envs_home(), way.accelerator
    if lock.torch and lock.torch_build is None:
        raise EnvError(f"stack {stack.name!r}: {no_torch(stack, way)}")
    log = home / "logs" / f"{stack.name}-{accelerator}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvError(f"cannot write to {home}: {error.strerror}; set ASRBENCH_HOME") from error
    python, minor = _find_python(stack, home, log)
    name = folder_name(stack, accelerator, lock, minor)
    with hold_env(name, say):
        clear_up(home / name)
        env = read_env(home / name)
        if env and not anew:  # another process built it while we waited
            return env
        refuse_if_used(name)
        log.write_text("", encoding="utf-8")
        say(f"{stack.name}: building its env for {accelerator}")
        fresh = beside(home / name, "new")
        try:
            build_s = _make(stack, way, lock, python, minor, fresh, log, say)
            put_in_place(fresh, home / name)
        finally:
            # ours, and what the uv of a killed builder may have written meanwhile
            clear_up(home / name)
        env = read_env(home / name)
        assert env is not None
    say(f"{stack.name}: env is ready after {build_s:.1f} s")
    return env


def _names_target(stack: Stack, way: Way, lock: Lock) -> bool:
    return lock.source_build != stack.source_builds.get(way.accelerator)


def _make(
    stack: Stack, way: Way, lock: Lock, python: str, minor: int, folder: Path, log: Path, say: Say
) -> float:
    start = time.perf_counter()
    what = f"the env of stack {stack.name!r} cannot be built"
    home = folder.parent
    run_uv(
        ["venv", "--relocatable", "--no-project", "--python", python, str(folder)], home, log, what
    )
    install(stack, lock, minor, folder, log, say)
    prove_env(stack, way.accelerator, folder, log, lock.variables)
    build_s = time.perf_counter() - start
    packages = run_uv(["pip", "freeze", "--python", str(venv_python(folder))], home, log, what)
    marker = {
        "stack": stack.name,
        "stack_folder": str(stack.folder),
        "accelerator": way.accelerator,
        "target": way.target if lock.torch or _names_target(stack, way, lock) else None,
        "python": _python_version(folder),
        "uv": uv_version(),
        "lock_sha256": lock.sha256,
        "built_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "build_s": round(build_s, 3),
        "packages": packages.split("\n")[:-1],
        "sources": package_sources(),
        "torch_index": lock.torch_build.index if lock.torch_build else None,
        "torch_table": str(table_file()) if lock.torch else None,
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
    return build_s


def _find_python(stack: Stack, home: Path, log: Path) -> tuple[str, int]:
    """An interpreter for the stack: the controller's own if it fits, else one that uv knows."""
    minors = allowed_minors(stack)
    if sys.version_info.minor in minors:
        return getattr(sys, "_base_executable", sys.executable), sys.version_info.minor
    what = (
        f"stack {stack.name!r} needs Python {stack.requires_python} and none was found; install "
        "one, or let uv fetch it: unset UV_PYTHON_DOWNLOADS"
    )
    last: EnvError | None = None
    for minor in reversed(minors):
        try:
            found = run_uv(["python", "find", "--no-project", f"3.{minor}"], home, log, what)
            return found.strip(), minor
        except EnvError as error:
            last = error
    if os.environ.get("UV_PYTHON_DOWNLOADS") not in ("never", "manual"):
        return f"3.{minors[-1]}", minors[-1]  # uv fetches it while it makes the virtualenv
    raise EnvError(what) from last


def _python_version(folder: Path) -> str:
    for line in (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version_info", "version"):
            return value.strip()
    return "unknown"
