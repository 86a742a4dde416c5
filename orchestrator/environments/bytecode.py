"""Bytecode of an env's packages: compiled once for all envs, and shared by hard links.

uv shares a package's files, but would compile them anew in each env: minutes and some 200 MB for
one with torch. It is compiled here without the env's path, which Python puts in when it imports,
so that all envs have the same bytes. Nobody writes into a .pyc file: it is replaced, or left.

A shared file's name has the hash of what went in, and that of its own content, which is compared
before another env gets it: a disk that was full or lost its power spoils no env after that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.environments.env import site_packages
from orchestrator.errors import EnvError
from orchestrator.interruptions import end, interruptions_wait, run
from orchestrator.platforms import venv_python

TIMEOUT_S = 3600.0
HASH_DIGITS = 32
_INSIDE = Path(__file__).with_name("compile_inside.py")
_ASK = "import importlib.util as u, sys; print(sys.implementation.cache_tag, u.MAGIC_NUMBER.hex())"


@dataclass(frozen=True)
class _Module:
    source: Path
    compiled: Path  # beside it
    key: str


def compile_all(folder: Path, scratch: Path) -> None:
    """Give every module that the env's packages installed its bytecode. Raises EnvError.

    One that cannot be compiled has none, as with uv: some packages ship Python 2. scratch: a
    folder for what is of no use afterwards.
    """
    try:
        shared = {file.parent.name + file.name.partition("-")[0]: file for file in _shared_files()}
        missing = [one for one in _modules(folder) if not _reuse(shared.get(one.key), one.compiled)]
        digests = _compile(folder, scratch, missing) if missing else {}
        for one in missing:
            digest = digests.get(str(one.source))
            if digest:
                place = _shared() / one.key[:2] / f"{one.key[2:]}-{digest[:HASH_DIGITS]}.pyc"
                place.parent.mkdir(parents=True, exist_ok=True)
                _link(one.compiled, place)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise EnvError(f"the packages in {folder} cannot be compiled: {error}") from error


def drop_unused() -> int:
    """Delete what no env has any more; returns the bytes that this freed."""
    freed_bytes = 0
    for file in _shared_files():
        with contextlib.suppress(OSError):  # another process was faster
            status = file.stat()
            if status.st_nlink == 1:
                file.unlink()
                freed_bytes += status.st_size
    return freed_bytes


def _modules(folder: Path) -> Iterator[_Module]:
    python = [str(venv_python(folder)), "-I", "-S", "-c", _ASK]
    asked = run(python, timeout_s=60)
    asked.check_returncode()
    tag, magic = asked.stdout.split()
    for site in site_packages(folder):
        for source in site.rglob("*.py"):
            if not source.is_file():
                continue
            with contextlib.suppress(UnicodeEncodeError):  # no import can name it
                place = source.relative_to(folder).as_posix().encode()
                status = source.stat()  # which its bytecode has in it
                content = hashlib.sha256(source.read_bytes()).hexdigest()
                went_in = f"{content} {status.st_size} {int(status.st_mtime)} {magic} ".encode()
                key = hashlib.sha256(went_in + place).hexdigest()[:HASH_DIGITS]
                yield _Module(
                    source, source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc", key
                )


def _reuse(shared: Path | None, compiled: Path) -> bool:
    """Link an earlier env's bytecode, if it is there and still what it was."""
    if shared is None:
        return False
    try:
        digest = hashlib.sha256(shared.read_bytes()).hexdigest()
    except OSError:  # pruned meanwhile, or unreadable
        return False
    with contextlib.suppress(OSError):  # of another user, or open on Windows
        if shared.stem.rpartition("-")[2] == digest[:HASH_DIGITS]:
            compiled.unlink(missing_ok=True)  # that came with the package, and nobody compared
            return _link(shared, compiled)
        shared.unlink(missing_ok=True)
    return False


def _link(there: Path, here: Path) -> bool:
    """False if this disk has no (more) links to it."""
    try:
        here.parent.mkdir(exist_ok=True)
        os.link(there, here)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _compile(folder: Path, scratch: Path, modules: list[_Module]) -> dict[str, str]:
    """With all CPUs; returns the sha256 of what came of each source that can be compiled."""
    workers = min(os.cpu_count() or 1, len(modules))
    python = [str(venv_python(folder)), "-I", "-S", "-X", "utf8", str(_INSIDE)]
    running: list[subprocess.Popen[str]] = []
    digests: dict[str, str] = {}
    with contextlib.ExitStack() as ends:
        for number in range(workers):
            job, result = scratch / f"job-{number}.json", scratch / f"compiled-{number}.json"
            sources = [str(one.source) for one in modules[number::workers]]
            job.write_text(json.dumps(sources), encoding="ascii")
            command = [*python, str(job), str(folder), str(result)]
            with interruptions_wait():
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                )
                ends.enter_context(process)
                ends.callback(end, process)
            running.append(process)
        for number, process in enumerate(running):
            said = process.communicate(timeout=TIMEOUT_S)[1]
            if process.returncode:
                last = said.strip().splitlines()[-1:] or [""]
                raise EnvError(
                    f"the packages in {folder} cannot be compiled: Python ended with "
                    f"{process.returncode}; {last[0]}"
                )
            digests |= json.loads((scratch / f"compiled-{number}.json").read_bytes())
    return digests


def _shared_files() -> Iterator[Path]:
    return _shared().glob("*/*.pyc")


def _shared() -> Path:
    return paths.envs_home() / ".bytecode"
