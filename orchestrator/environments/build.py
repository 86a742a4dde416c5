"""Building an env: from the lock into a temporary folder, proved from inside, then renamed.

The folder's name holds a hash of what went in, so an env is never changed, only replaced, and is
whole or absent. One env's build touches no other.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from orchestrator import paths
from orchestrator.environments.lock import Lock, allowed_minors, make_lock, read_lock
from orchestrator.environments.uv import run_uv, uv_version
from orchestrator.errors import EnvError
from orchestrator.platforms import venv_python
from orchestrator.stacks import Accelerator, Stack
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.worker import Worker, WorkerSpec

MARKER = "asrbench-env.json"
PROOF_TIMEOUT_S = 300.0  # a first import of a large stack reads it from a cold disk
WAIT_FOR_BUILDER_S = 3600.0
RENAME_TRIES = 10  # antivirus programs hold fresh files for a moment on Windows

Say = Callable[[str], None]


@dataclass(frozen=True)
class Env:
    """A virtualenv that was proved."""

    folder: Path
    stack: str
    accelerator: str
    python_version: str
    lock_sha256: str
    build_s: float

    @property
    def python(self) -> Path:
        """Its interpreter; on Windows a launcher for it."""
        return venv_python(self.folder)


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


def find_env(stack: Stack, accelerator: str, lock: Lock) -> Env | None:
    """The built env for this lock, without starting anything."""
    for minor in _preferred_minors(stack):
        env = read_env(paths.envs_home() / _folder_name(stack, accelerator, lock, minor))
        if env:
            return env
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
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def list_envs() -> list[Env]:
    """All built envs, also those of older locks."""
    found = (read_env(marker.parent) for marker in paths.envs_home().glob(f"*/{MARKER}"))
    return sorted((env for env in found if env), key=lambda env: env.folder.name)


def remove_env(env: Env) -> None:
    """Delete an env, at once from the point of view of others."""
    with _lock(env.folder.name, lambda _: None):
        doomed = env.folder.with_name(f".old-{env.folder.name}-{os.getpid()}")
        _rename(env.folder, doomed)
        _delete(doomed)


def prove_env(stack: Stack, accelerator: str, folder: Path, log: Path) -> None:
    """Hello and import from inside, with every model's options. Raises EnvError."""
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
        finally:
            worker.close()
    except WorkerFault as fault:
        raise EnvError(f"the env of stack {stack.name!r} does not work: {fault.message}") from fault
    run_uv(
        ["pip", "check", "--python", str(venv_python(folder))],
        folder,
        log,
        f"packages in the env of stack {stack.name!r} contradict each other",
    )


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
        log.write_text("", encoding="utf-8")
    except OSError as error:
        raise EnvError(f"cannot write to {home}: {error.strerror}; set ASRBENCH_HOME") from error
    python, minor = _find_python(stack, home, log)
    name = _folder_name(stack, accelerator, lock, minor)
    with _lock(name, say):
        env = read_env(home / name)
        if env and not replace:  # another process built it while we waited
            return env
        say(f"{stack.name}: building its env for {accelerator}")
        for abandoned in [*home.glob(f".new-{name}-*"), *home.glob(f".old-{name}-*")]:
            _delete(abandoned)
        fresh = home / f".new-{name}-{os.getpid()}"
        try:
            build_s = _install(stack, accelerator, lock, python, fresh, log)
            _put_in_place(fresh, home / name)
        finally:
            _delete(fresh)
    env = read_env(home / name)
    assert env is not None
    say(f"{stack.name}: env is ready after {build_s:.1f} s")
    return env


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
        _rename(place, old)
    try:
        _rename(fresh, place)
    except BaseException:
        if old.exists():
            _rename(old, place)
        raise
    _delete(old)


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


def _preferred_minors(stack: Stack) -> list[int]:
    minors = allowed_minors(stack)
    own = sys.version_info.minor
    return [own] if own in minors else minors[::-1]


def _folder_name(stack: Stack, accelerator: str, lock: Lock, minor: int) -> str:
    machine = f"{sys.platform}-{platform.machine()}"
    went_in = "\n".join([str(stack.folder), lock.sha256, f"3.{minor}", uv_version(), machine])
    return f"{stack.name}-{accelerator}-{hashlib.sha256(went_in.encode()).hexdigest()[:12]}"


def _python_version(folder: Path) -> str:
    for line in (folder / "pyvenv.cfg").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version_info", "version"):
            return value.strip()
    return "unknown"


@contextlib.contextmanager
def _lock(name: str, say: Say) -> Iterator[None]:
    """Only one process builds or removes an env. uv's own lock gives up after a time."""
    folder = paths.envs_home() / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"{name}: another asrbench is building it; waiting")
        try:
            lock.acquire(timeout=WAIT_FOR_BUILDER_S)
        except filelock.Timeout:
            raise EnvError(f"{name}: another asrbench has been building it for an hour") from None
    try:
        yield
    finally:
        lock.release()


def _rename(source: Path, target: Path) -> None:
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


def _delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
