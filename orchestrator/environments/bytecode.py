"""Bytecode of an env's packages: compiled once for all envs, and shared by hard links.

uv shares a package's files, but would compile them anew in each env: minutes and some 200 MB for
one with torch. It is compiled here without the env's path, which Python puts in when it imports,
so that all envs have the same bytes. Nobody writes into a .pyc file: it is replaced, or left.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.environments.env import site_packages
from orchestrator.errors import EnvError
from orchestrator.platforms import venv_python

TIMEOUT_S = 3600.0
_ASK = "import importlib.util as u, sys; print(sys.implementation.cache_tag, u.MAGIC_NUMBER.hex())"


@dataclass(frozen=True)
class _Module:
    source: Path
    compiled: Path  # beside it
    shared: Path


def compile_all(folder: Path, scratch: Path) -> None:
    """Give every module that the env's packages installed its bytecode. Raises EnvError.

    One that cannot be compiled has none, as with uv: some packages ship Python 2. scratch: a
    folder for what is of no use afterwards.
    """
    try:
        missing = [one for one in _modules(folder) if not _link(one.shared, one.compiled)]
        if missing:
            _compile(folder, scratch, missing)
        for one in missing:
            one.shared.parent.mkdir(parents=True, exist_ok=True)
            _link(one.compiled, one.shared)
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvError(f"the packages in {folder} cannot be compiled: {error}") from error


def drop_unused() -> int:
    """Delete what no env has any more; returns the bytes that this freed."""
    freed_bytes = 0
    for file in _shared().glob("*/*.pyc"):
        with contextlib.suppress(OSError):  # another process was faster
            status = file.stat()
            if status.st_nlink == 1:
                file.unlink()
                freed_bytes += status.st_size
    return freed_bytes


def _modules(folder: Path) -> Iterator[_Module]:
    """By what each package recorded of its files, as that has their hashes."""
    python = [str(venv_python(folder)), "-I", "-S", "-c", _ASK]
    asked = subprocess.run(python, capture_output=True, check=True, timeout=60, encoding="utf-8")
    tag, magic = asked.stdout.split()
    for site in site_packages(folder):
        for record in site.glob("*.dist-info/RECORD"):
            with record.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.reader(file) if len(row) == 3]
            for name, content_hash, _ in rows:
                source = site / name
                if not name.endswith(".py") or ".." in name.split("/") or not content_hash:
                    continue
                # deleted by a later package, or a name that no package should record
                with contextlib.suppress(OSError, ValueError):
                    place = source.relative_to(folder).as_posix()
                    # the file's time is in its bytecode
                    # its own hash: a later package may have put another one in its place
                    content = hashlib.sha256(source.read_bytes()).hexdigest()
                    went_in = [place, content, str(int(source.stat().st_mtime)), magic]
                    key = hashlib.sha256("\0".join(went_in).encode()).hexdigest()
                    compiled = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
                    yield _Module(source, compiled, _shared() / key[:2] / f"{key[2:]}.pyc")


def _link(there: Path, here: Path) -> bool:
    """False if it is not there, or this disk has no (more) links to it."""
    try:
        here.parent.mkdir(exist_ok=True)
        os.link(there, here)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _compile(folder: Path, scratch: Path, modules: list[_Module]) -> None:
    """With all CPUs: a process for each, as compileall's own way to share work is slower."""
    workers = min(os.cpu_count() or 1, len(modules))
    python = [str(venv_python(folder)), "-I", "-X", "utf8", "-m", "compileall", "-qq"]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(workers):
            names = scratch / f"names-{number}.txt"
            lines = [f"{one.source}\n" for one in modules[number::workers]]
            names.write_text("".join(lines), encoding="utf-8")
            command = [*python, "-s", str(folder), "-i", str(names)]
            quiet = subprocess.DEVNULL
            running.append(subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet))
        for process in running:  # the exit code only says that something cannot be compiled
            process.wait(TIMEOUT_S)
    finally:
        for process in running:
            process.kill()
            process.wait()


def _shared() -> Path:
    return paths.envs_home() / ".bytecode"
