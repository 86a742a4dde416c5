"""Windows: one Job Object around each tree kills it whole, also when the controller dies.

The venv's python.exe is a launcher that starts the real interpreter in a job of its own, from
which grandchildren break away; our outer job does not let them. The process is created suspended,
put into the job, then resumed, so that nothing can start outside it.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import io
import os
import platform
import subprocess
import threading
import time
import winreg
from pathlib import Path

from orchestrator.platforms import psutil_trees
from orchestrator.platforms.sampling import Sampler
from orchestrator.platforms.windows_job import Job, resume, suppress_error_dialogs
from schemas.records import MemoryPeak

PERIOD_S = 0.25  # a look scans every process; each one's own peak is the kernel's counter
KILL_WAIT_S = 5.0
CREATE_SUSPENDED = 0x4
_PROCESSOR = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_DISPLAY_CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"


class WindowsProcessTree:
    """See platforms.ProcessTree."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        suppress_error_dialogs()  # inherited: a crash must not wait for a click
        self._job = Job()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                cwd=folder,
                creationflags=CREATE_SUSPENDED
                | subprocess.CREATE_NEW_PROCESS_GROUP
                | subprocess.CREATE_NO_WINDOW,
            )
        except BaseException:
            self._job.close()
            raise
        try:
            self._job.assign(int(self._process._handle))  # type: ignore[attr-defined]
            resume(int(self._process._handle))  # type: ignore[attr-defined]
        except BaseException:
            self._process.kill()  # a suspended process must never stay
            self._job.close()
            raise
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert isinstance(stdin, io.FileIO)
        assert isinstance(stdout, io.FileIO)
        assert isinstance(stderr, io.FileIO)
        self._stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._sampler = Sampler(lambda: psutil_trees.look(self.pid), PERIOD_S)

    @property
    def pid(self) -> int:
        """The launcher's."""
        return self._process.pid

    def write(self, data: memoryview, deadline: float) -> None:
        """Write all to stdin. TimeoutError at the deadline; OSError if nobody can read it.

        Nothing escapes the job, so a write that blocks for too long is ended by killing it.
        """
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._job.terminate)
        timer.start()
        try:
            while data:
                data = data[self._stdin.write(data) or 0 :]
        except OSError as error:
            if time.monotonic() >= deadline:
                raise TimeoutError from error
            raise
        finally:
            timer.cancel()

    def close_stdin(self) -> None:
        """End of requests."""
        self._stdin.close()

    def wait(self, timeout_s: float | None) -> int | None:
        """Exit status, None if still running. The launcher passes the interpreter's on."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def memory(self) -> MemoryPeak | None:
        """The larger of the sampled sum and the largest process's peak working set."""
        peaks = self._sampler.peaks()
        if not peaks.processes:
            return None
        peak_bytes, method = max(
            (peaks.resident_bytes, "rss-sum-250ms"),
            (peaks.process_high_water_bytes, "peak-working-set"),
        )
        return MemoryPeak(peak_bytes=peak_bytes, method=method, resident_bytes=peaks.resident_bytes)

    def kill(self) -> None:
        """End the job with everything in it."""
        self._job.terminate()
        self.wait(KILL_WAIT_S)

    def close(self) -> None:
        """Kill what is left and give everything back."""
        self.kill()
        self._sampler.close()
        for pipe in (self._stdin, self.stdout, self.stderr):
            pipe.close()
        self._job.close()


def spawn(command: list[str], environment: dict[str, str], folder: Path) -> WindowsProcessTree:
    """Start a process tree in a job."""
    return WindowsProcessTree(command, environment, folder)


def point_latest(link: Path, target: Path) -> None:
    """A junction, which needs no privilege; symbolic links on Windows do."""
    import _winapi

    if os.path.lexists(link):
        link.rmdir()  # removes the junction, not what it points to
    _winapi.CreateJunction(str(target), str(link))


def venv_python(env: Path) -> Path:
    """The launcher of a virtualenv's interpreter."""
    return env / "Scripts" / "python.exe"


def cpu_name() -> str:
    """As the system shows it to people."""
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _PROCESSOR) as processor:
            return str(winreg.QueryValueEx(processor, "ProcessorNameString")[0]).strip()
    except OSError:
        return platform.processor()


def gpus() -> list[str]:
    """Driver descriptions of the display class; may list cards that are no longer there."""
    names: list[str] = []
    try:
        display = winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _DISPLAY_CLASS)
    except OSError:
        return names
    with display:
        for index in range(winreg.QueryInfoKey(display)[0]):
            try:
                with winreg.OpenKey(display, winreg.EnumKey(display, index)) as card:
                    names.append(str(winreg.QueryValueEx(card, "DriverDesc")[0]))
            except OSError:  # "Properties" may not be read, and need not be
                continue
    return list(dict.fromkeys(names))
