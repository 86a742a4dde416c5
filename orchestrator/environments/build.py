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
from pathlib import Path

from orchestrator import paths
from orchestrator.environments.distributions import distributions
from orchestrator.environments.env import Env, Proof
from orchestrator.environments.lock import Lock, allowed_minors, make_lock, read_lock
from orchestrator.environments.locks import Say, hold_env, refuse_if_used
from orchestrator.environments.store import (
    MARKER,
    delete,
    find_env,
    folder_name,
    read_env,
    rename,
)
from orchestrator.environments.uv import run_uv, uv_version
from orchestrator.errors import EnvError
from orchestrator.platforms import venv_python
from orchestrator.stacks import Stack
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.worker import Worker
from schemas.records import Accelerator

PROOF_TIMEOUT_S = 300.0  # a first import of a large stack reads it from a cold disk


def choose_accelerator(stack: Stack) -> Accelerator:
    """The first of the stack's accelerators that this version can use: for now the CPU."""
    if "cpu" not in stack.accelerators:
        raise EnvError(
            f"stack {stack.name!r} has no build for the CPU (it names "
            f"{', '.join(stack.accelerators)}), and other accelerators are not supported yet"
        )
    return "cpu"


def ensure_env(stack: Stack, accelerator: Accelerator, say: Say) -> Env:
    """The env for the stack's lock, built if it is not there. Raises EnvError or StackError."""
    lock = _ensure_lock(stack, accelerator, say)
    env = find_env(stack, accelerator, lock)
    if env:
        return env
    return _build(stack, accelerator, lock, say, replace=False)


def rebuild_env(stack: Stack, accelerator: Accelerator, say: Say) -> Env:
    """Build the env anew; the old one serves until the new one is proved."""
    lock = _ensure_lock(stack, accelerator, say)
    return _build(stack, accelerator, lock, say, replace=True)


def prove_env(stack: Stack, accelerator: str, folder: Path, log: Path) -> Proof:
    """Hello and import from inside, with every model's options, and nothing from outside.

    Raises EnvError.
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
    run_uv(
        ["pip", "check", "--python", str(venv_python(folder))],
        folder,
        log,
        f"packages in the env of stack {stack.name!r} contradict each other",
    )
    return Proof(distributions(worker.packages), isolation.system_libraries)


def _ensure_lock(stack: Stack, accelerator: str, say: Say) -> Lock:
    lock = read_lock(stack, accelerator)
    if lock is None:
        say(f"{stack.name}: has no lock yet; locking its dependencies")
        lock = make_lock(stack, accelerator)
        say(f"{stack.name}: wrote {lock.file}")
    return lock


def _build(stack: Stack, accelerator: str, lock: Lock, say: Say, replace: bool) -> Env:
    home = paths.envs_home()
    log = home / "logs" / f"{stack.name}-{accelerator}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvError(f"cannot write to {home}: {error.strerror}; set ASRBENCH_HOME") from error
    python, minor = _find_python(stack, home, log)
    name = folder_name(stack, accelerator, lock, minor)
    with hold_env(name, say):
        env = read_env(home / name)
        if env and not replace:  # another process built it while we waited
            return env
        refuse_if_used(name)
        log.write_text("", encoding="utf-8")
        say(f"{stack.name}: building its env for {accelerator}")
        _delete_abandoned(home, name)
        fresh = home / f".new-{name}-{os.getpid()}"
        try:
            build_s = _install(stack, accelerator, lock, python, fresh, log)
            _put_in_place(fresh, home / name)
        finally:
            # ours, and what the uv of a killed builder may have written meanwhile
            _delete_abandoned(home, name)
    env = read_env(home / name)
    assert env is not None
    say(f"{stack.name}: env is ready after {build_s:.1f} s")
    return env


def _delete_abandoned(home: Path, name: str) -> None:
    for abandoned in [*home.glob(f".new-{name}-*"), *home.glob(f".old-{name}-*")]:
        delete(abandoned)


def _install(
    stack: Stack, accelerator: str, lock: Lock, python: str, folder: Path, log: Path
) -> float:
    start = time.perf_counter()
    what = f"the env of stack {stack.name!r} cannot be built"
    home = folder.parent
    run_uv(
        ["venv", "--relocatable", "--no-project", "--python", python, str(folder)], home, log, what
    )
    # Compiled here and never written at run time: load times do not depend on who was first, and
    # an env's files stay as they were proved.
    install = [
        "pip",
        "sync",
        "--require-hashes",
        "--compile-bytecode",
        "--allow-empty-requirements",
    ]
    run_uv([*install, "--python", str(venv_python(folder)), str(lock.file)], home, log, what)
    prove_env(stack, accelerator, folder, log)
    build_s = time.perf_counter() - start
    packages = run_uv(["pip", "freeze", "--python", str(venv_python(folder))], home, log, what)
    marker = {
        "stack": stack.name,
        "stack_folder": str(stack.folder),
        "accelerator": accelerator,
        "python": _python_version(folder),
        "uv": uv_version(),
        "lock_sha256": lock.sha256,
        "built_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "build_s": round(build_s, 3),
        "packages": packages.split("\n")[:-1],
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
    return build_s


def _put_in_place(fresh: Path, place: Path) -> None:
    old = place.with_name(f".old-{place.name}-{os.getpid()}")
    if place.exists():
        rename(place, old)
    try:
        rename(fresh, place)
    except BaseException:
        if old.exists():
            rename(old, place)
        raise
    delete(old)


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
