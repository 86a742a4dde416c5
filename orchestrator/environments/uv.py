"""The only caller of uv. Its binary comes with the uv wheel; nothing has to be on PATH."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from uv import find_uv_bin

from orchestrator import paths
from orchestrator.errors import EnvError

TIMEOUT_S = 3600.0  # several GB over a slow line
HEAD_LINES = 6  # what went wrong
TAIL_LINES = 14  # and why, when uv tells it at length

# what would make uv look at, or link to, another place than the one it is told
_LEAKS = (
    "VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME UV_PYTHON UV_SYSTEM_PYTHON "
    "UV_BREAK_SYSTEM_PACKAGES UV_PROJECT UV_PROJECT_ENVIRONMENT UV_WORKING_DIRECTORY "
    "UV_LINK_MODE"  # links into a cache would make the env a part of it
).split()


def uv_version() -> str:
    """Of the uv wheel, part of an env's identity."""
    return importlib.metadata.version("uv")


def run_uv(arguments: Sequence[str], folder: Path, log: Path, what: str) -> str:
    """Run uv in folder and return its stdout; all that it says is appended to log.

    Raises EnvError that begins with what and ends with uv's own last words.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [find_uv_bin(), *arguments],
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ uv {' '.join(arguments)}\n{done.stderr}{done.stdout}")
    except subprocess.TimeoutExpired as error:
        raise EnvError(f"{what}: uv did not end within {TIMEOUT_S:.0f} s; see {log}") from error
    except PermissionError as error:
        raise EnvError(f"{what}: cannot write {log}; set ASRBENCH_HOME") from error
    except OSError as error:
        raise EnvError(f"{what}: uv cannot be run: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        if len(said) > HEAD_LINES + TAIL_LINES:
            said = [*said[:HEAD_LINES], "…", *said[-TAIL_LINES:]]
        raise EnvError(f"{what} (uv's status {done.returncode}; log: {log}):", "\n".join(said))
    return done.stdout


def _environment() -> dict[str, str]:
    environment = {key: value for key, value in os.environ.items() if key not in _LEAKS}
    environment.setdefault("UV_CACHE_DIR", str(paths.cache_home() / "uv"))
    environment.setdefault("UV_HTTP_TIMEOUT", "300")
    return environment | {"UV_NO_PROGRESS": "1", "NO_COLOR": "1", "UV_LOCK_TIMEOUT": "3600"}
