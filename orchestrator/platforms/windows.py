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
from collections.abc import Collection
from pathlib import Path

from orchestrator.platforms import psutil_trees
from orchestrator.platforms.psutil_state import look as look_at_machine
from orchestrator.platforms.sampling import Sampler
from orchestrator.platforms.windows_job import Job, resume, suppress_error_dialogs
from schemas.records import MemoryPeak

__all__ = [
    "cpu_name",
    "gpus",
    "kernel_lines",
    "look_at_machine",
    "point_latest",
    "spawn",
    "venv_python",
]

PERIOD_S = 0.25  # a look scans every process; each one's own peak is the kernel's counter
KILL_WAIT_S = 5.0
NEAR_LIMIT = 0.95  # an allocation that does not fit any more is refused as a whole
CREATE_SUSPENDED = 0x4
_PROCESSOR = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_DISPLAY_CLASS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"


class WindowsProcessTree:
    """See platforms.ProcessTree."""

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: Path,
        memory_limit_bytes: int | None = None,
    ) -> None:
        suppress_error_dialogs()  # inherited: a crash must not wait for a click
        self._limit_bytes = memory_limit_bytes
        self._job = Job(memory_limit_bytes)
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
        if not peaks.pids:
            return None
        peak_bytes, method = max(
            (peaks.resident_bytes, "rss-sum-250ms"),
            (peaks.process_high_water_bytes, "peak-working-set"),
        )
        return MemoryPeak(
            peak_bytes=peak_bytes,
            method=method,
            bound="lower",
            resident_bytes=peaks.resident_bytes,
        )

    def begin_memory_window(self) -> None:
        """A new phase begins."""
        self._sampler.begin_window()

    def memory_window(self) -> MemoryPeak | None:
        """Sampled only: Windows starts none of its counters anew."""
        peaks = self._sampler.window_peaks()
        if not peaks.pids:
            return None
        return MemoryPeak(
            peak_bytes=peaks.resident_bytes,
            method="rss-sum-250ms",
            bound="lower",
            resident_bytes=peaks.resident_bytes,
        )

    def memory_curve(self) -> list[tuple[float, int]]:
        """Resident memory in the last seconds."""
        return self._sampler.curve()

    def out_of_memory(self) -> str | None:
        """The job's commit came to its limit: from there on every allocation fails."""
        if self._limit_bytes is None:
            return None
        committed = self._job.peak_commit_bytes()
        if committed < NEAR_LIMIT * self._limit_bytes:
            return None
        return (
            f"the job had committed {committed / 1e6:.0f} MB of its limit of "
            f"{self._limit_bytes / 1e6:.0f} MB"
        )

    def pids(self) -> list[int]:
        """Of the tree."""
        return psutil_trees.pids(self.pid)

    def cpu_s_by_pid(self) -> dict[int, float]:
        """By the job's own counter, which misses nobody."""
        used_s = self._job.cpu_s()
        return {} if used_s is None else {self.pid: used_s}

    def dump_stack(self) -> None:
        """Windows has no signal that a hanging process would answer."""

    def kill(self) -> str | None:
        """End the job with everything in it."""
        self._job.terminate()
        if self.wait(KILL_WAIT_S) is None:
            return f"process {self.pid} cannot be killed: its driver may be stuck"
        return None

    def close(self) -> str | None:
        """Kill what is left and give everything back."""
        left = self.kill()
        self._sampler.close()
        for pipe in (self._stdin, self.stdout, self.stderr):
            pipe.close()
        self._job.close()
        return left


def spawn(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    memory_limit_bytes: int | None = None,
) -> WindowsProcessTree:
    """Start a process tree in a job."""
    return WindowsProcessTree(command, environment, folder, memory_limit_bytes)


def point_latest(link: Path, target: Path) -> None:
    """A junction, which needs no privilege; symbolic links on Windows do."""
    import _winapi

    if os.path.lexists(link):
        link.rmdir()  # removes the junction, not what it points to
    _winapi.CreateJunction(str(target), str(link))


def venv_python(env: Path) -> Path:
    """The launcher of a virtualenv's interpreter."""
    return env / "Scripts" / "python.exe"


def kernel_lines(pids: Collection[int], since: float) -> list[str]:
    """Not read on this system."""
    return []


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
