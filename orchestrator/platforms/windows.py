"""Windows: trees in Job Objects, junctions, the event log, the registry."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import errno
import os
import platform
import subprocess
import time
import winreg
from collections.abc import Collection
from pathlib import Path

from orchestrator.platforms import windows_api, windows_events
from orchestrator.platforms.psutil_state import MachineWatch
from orchestrator.platforms.windows_tree import WindowsProcessTree

__all__ = [
    "NOBODY_READS",
    "MachineWatch",
    "cpu_name",
    "kernel_lines",
    "leave_to_guardian",
    "memory_counter",
    "point_latest",
    "quoted",
    "spawn",
    "venv_python",
]

EVENT_LOG_S = 5.0  # a log that answers late is not worth a run's time
NOBODY_READS = (errno.EPIPE, errno.EINVAL)  # from our stdout; the latter is what Windows says
CREATE_SUSPENDED = 0x4  # subprocess has no name for it
_PROCESSOR = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"


def spawn(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    memory_limit_bytes: int | None = None,
) -> WindowsProcessTree:
    """Start a process tree in a job."""

    def create() -> tuple[subprocess.Popen[bytes], int]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            cwd=folder,
            creationflags=CREATE_SUSPENDED
            | subprocess.CREATE_NEW_PROCESS_GROUP  # Ctrl-C is for the controller
            | subprocess.CREATE_NO_WINDOW,
        )
        return process, int(process._handle)  # type: ignore[attr-defined]

    return WindowsProcessTree(windows_api.load(), create, memory_limit_bytes)


def point_latest(link: Path, target: Path) -> None:
    """A junction, which needs no privilege; symbolic links on Windows do."""
    import _winapi

    if os.path.lexists(link):
        link.rmdir()  # removes the junction, not what it points to
    _winapi.CreateJunction(str(target), str(link))


def quoted(words: list[str]) -> str:
    """One line that a program gets these words from."""
    return subprocess.list2cmdline(words)


def venv_python(env: Path) -> Path:
    """The launcher of a virtualenv's interpreter."""
    return env / "Scripts" / "python.exe"


def kernel_lines(pids: Collection[int], since: float) -> list[str]:
    """What the event log says of these processes and, meanwhile, of display drivers.

    since: time.monotonic() of their start.
    """
    if not pids:
        return []
    program = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "wevtutil.exe")
    lines: list[str] = []
    for channel, query in windows_events.queries(time.monotonic() - since).items():
        try:
            done = subprocess.run(
                [program, "qe", channel, *query],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=EVENT_LOG_S,
                check=False,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        lines += windows_events.lines(done.stdout, pids)
    return lines[-windows_events.MAX_LINES :]


def leave_to_guardian(folder: Path) -> None:
    """There is none here: a killed controller's folder stays where the system cleans up."""


def worker_network(python: Path) -> str:
    """asrbench closes it on Linux only."""
    return "open"


def system_libraries() -> tuple[Path, ...]:
    """Folders of the system's own libraries and its drivers."""
    return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")),)


def configured_libraries() -> tuple[Path, ...]:
    """Installed programs: overlays and virus scanners put libraries into every process."""
    names = ("PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432", "PROGRAMDATA")
    return tuple(Path(os.environ[name]) for name in names if os.environ.get(name))


def memory_counter() -> str:
    """There is but one."""
    return "job"


def cpu_name() -> str:
    """As the system shows it to people."""
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _PROCESSOR) as processor:
            return str(winreg.QueryValueEx(processor, "ProcessorNameString")[0]).strip()
    except OSError:
        return platform.processor()
