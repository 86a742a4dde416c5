"""The only caller of uv. Its binary comes with the uv wheel; nothing has to be on PATH."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from orchestrator.environments.causes import likely_cause
from orchestrator.environments.sources import uv_environment, without_secrets
from orchestrator.errors import EnvError
from orchestrator.interruptions import end, interruptions_wait

TIMEOUT_S = 3600.0  # several GB over a slow line
HEAD_LINES = 6  # what went wrong
TAIL_LINES = 14  # and why, when uv tells it at length
_PROGRESS = re.compile(r"\s*(Downloading|Building) ")  # uv names what is large, with its size


def uv_version() -> str:
    """Of the uv wheel, part of an env's identity."""
    return importlib.metadata.version("uv")


def run_uv(
    arguments: Sequence[str],
    folder: Path,
    log: Path,
    what: str,
    variables: Mapping[str, str] | None = None,
    alone: bool = False,
    say: Callable[[str], None] | None = None,
) -> str:
    """Run uv in folder and return its stdout; all that it says is appended to log.

    variables: on top of the usual ones, for what is built from its sources. alone: no package
    index but those of the arguments. say: hears what is downloaded or built, while that goes on.
    Raises EnvError that begins with what, names the likely cause and ends with uv's own words.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = uv_environment(alone) | dict(variables or {})
        done = _run([find_uv_bin(), *arguments], folder, environment, say or (lambda _: None))
        with log.open("a", encoding="utf-8") as file:
            line = f"$ uv {' '.join(arguments)}\n{done.stderr}{done.stdout}"
            file.write(without_secrets(line))
    except PermissionError as error:
        raise EnvError(f"{what}: cannot write {log}; set ASRBENCH_HOME") from error
    except OSError as error:
        raise EnvError(f"{what}: uv cannot be run: {error}") from error
    if done.timed_out:
        raise EnvError(f"{what}: uv did not end within {TIMEOUT_S:.0f} s; see {log}")
    if done.status:
        raise _failed(what, done.status, log, without_secrets(done.stderr))
    return done.stdout


@dataclass(frozen=True)
class _Done:
    status: int
    stdout: str
    stderr: str
    timed_out: bool


def _run(
    command: list[str], folder: Path, environment: dict[str, str], say: Callable[[str], None]
) -> _Done:
    how: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
    over = threading.Event()
    with contextlib.ExitStack() as ends:
        with interruptions_wait():
            out = ends.enter_context(tempfile.TemporaryFile("w+", **how))
            process = ends.enter_context(
                subprocess.Popen(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.PIPE,
                    **how,
                )
            )
            ends.callback(end, process)

            def end_late() -> None:
                over.set()
                process.kill()

            timer = threading.Timer(TIMEOUT_S, end_late)
            timer.daemon = True
            timer.start()
            ends.callback(_end_timer, timer)
        said = []
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if _PROGRESS.match(line):
                say(without_secrets(line.strip()))
        status = process.wait()
        out.seek(0)
        return _Done(status, out.read(), "".join(said), over.is_set())


def _end_timer(timer: threading.Timer) -> None:
    with interruptions_wait():  # without the first, the second would wait for an hour
        timer.cancel()
        timer.join()


def _failed(what: str, status: int, log: Path, said: str) -> EnvError:
    lines = said.strip().splitlines()
    if len(lines) > HEAD_LINES + TAIL_LINES:
        lines = [*lines[:HEAD_LINES], "…", *lines[-TAIL_LINES:]]
    cause = likely_cause(said)
    first = [f"likely cause: {cause}"] if cause else []
    return EnvError(f"{what} (uv's status {status}; log: {log}):", "\n".join([*first, *lines]))
