"""A Job Object: the kernel's own list of a process and all that it starts, which dies as one.

api, everywhere: what windows_api.load() gives, or what stands in for it in a test.
"""

from __future__ import annotations

import ctypes
import errno
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from orchestrator.platforms import windows_api

# our own status, to tell "we killed it" from a crash
KILLED_BY_US = 0x0A5B_0001
# what the C runtime's abort() ends with where a handler for SIGABRT is set, as faulthandler does
ABORT_STATUS: int | None = 3 if sys.platform == "win32" else None


class Job:
    """A job whose processes die with its handle, so also with the controller, however it dies."""

    def __init__(self, api: Any, memory_limit_bytes: int | None = None) -> None:
        self._api = api
        self._port: int | None = None
        self._refused: set[int] = set()
        self._handle: int | None = api.CreateJobObjectW(None, None)
        self._check(self._handle)
        try:
            self._set_limits(memory_limit_bytes)
        except BaseException:
            self.close()
            raise

    def assign(self, process_handle: int) -> None:
        """Put a suspended process in. What it starts will be in it as well."""
        self._check(self._api.AssignProcessToJobObject(self._handle, process_handle))

    def peak_commit_bytes(self) -> int | None:
        """Highest committed memory of the job, by the kernel's counter; None if it does not tell.

        Not RAM: files that are mapped are not in it, and memory that was never touched is.
        """
        limits = windows_api.ExtendedLimits()
        if not self._query(windows_api.EXTENDED_LIMIT_INFORMATION, limits):
            return None
        return int(limits.PeakJobMemoryUsed)

    def refused_pids(self) -> set[int]:
        """Processes that were refused memory because of the job's limit."""
        message, key, pid = ctypes.c_uint32(), ctypes.c_size_t(), ctypes.c_void_p()
        while self._port and self._api.GetQueuedCompletionStatus(
            self._port, ctypes.byref(message), ctypes.byref(key), ctypes.byref(pid), 0
        ):
            if message.value == windows_api.MSG_JOB_MEMORY_LIMIT:
                self._refused.add(pid.value or 0)
        return self._refused

    def cpu_s(self) -> float | None:
        """CPU time of all that ever ran in it; None if the system does not tell."""
        used = self._accounting()
        return None if used is None else (used.TotalUserTime + used.TotalKernelTime) * 1e-7

    def active(self) -> int:
        """How many processes live in it."""
        used = self._accounting()
        return 0 if used is None else int(used.ActiveProcesses)

    def pids(self) -> list[int]:
        """The processes that live in it, also those whose parents are gone."""
        found = windows_api.ProcessIds()
        # the call fails where there are more than fit, and has filled the list nevertheless
        self._query(windows_api.BASIC_PROCESS_ID_LIST, found)
        return list(found.ProcessIdList[: found.NumberOfProcessIdsInList])

    def terminate(self) -> None:
        """Kill everything in it; harmless when nothing is left."""
        if self._handle:
            self._api.TerminateJobObject(self._handle, KILLED_BY_US)

    def close(self) -> None:
        """Give the handles back; what still lives in it dies."""
        for handle in (self._handle, self._port):
            if handle:
                self._api.CloseHandle(handle)
        self._handle = self._port = None

    def _set_limits(self, memory_limit_bytes: int | None) -> None:
        limits = windows_api.ExtendedLimits()
        flags = windows_api.KILL_ON_JOB_CLOSE | windows_api.DIE_ON_UNHANDLED_EXCEPTION
        if memory_limit_bytes is not None:
            flags |= windows_api.LIMIT_JOB_MEMORY
            limits.JobMemoryLimit = memory_limit_bytes
            # before any process is in: the kernel reports only processes whose start it reported
            self._open_port()
        limits.BasicLimitInformation.LimitFlags = flags
        self._set(windows_api.EXTENDED_LIMIT_INFORMATION, limits)

    def _open_port(self) -> None:
        """Have the kernel say when it refuses memory: nothing dies of that by itself."""
        self._port = self._api.CreateIoCompletionPort(windows_api.INVALID_HANDLE, None, 0, 1)
        self._check(self._port)
        port = windows_api.CompletionPort(CompletionPort=self._port)
        self._set(windows_api.ASSOCIATE_COMPLETION_PORT_INFORMATION, port)

    def _accounting(self) -> windows_api.BasicAccounting | None:
        used = windows_api.BasicAccounting()
        return used if self._query(windows_api.BASIC_ACCOUNTING_INFORMATION, used) else None

    def _set(self, kind: int, given: ctypes.Structure) -> None:
        size = ctypes.sizeof(given)
        self._check(
            self._api.SetInformationJobObject(self._handle, kind, ctypes.byref(given), size)
        )

    def _query(self, kind: int, found: ctypes.Structure) -> bool:
        if not self._handle:  # without one, the system would tell of the job that we are in
            return False
        size = ctypes.sizeof(found)
        return bool(
            self._api.QueryInformationJobObject(self._handle, kind, ctypes.byref(found), size, None)
        )

    def _check(self, result: int | None) -> None:
        if not result:
            error: OSError = self._api.last_error()
            raise error


def start_inside(
    api: Any, job: Job, create: Callable[[], tuple[subprocess.Popen[bytes], int]]
) -> subprocess.Popen[bytes]:
    """Create a process, suspended; put it into the job; let it run. Raises OSError.

    create: gives the process and its handle. Nothing of the process stays if a step fails.
    """
    process, handle = create()
    try:
        job.assign(handle)
        _resume(api, handle)
    except BaseException:
        process.kill()
        with process:  # waits, and closes its pipes
            pass
        raise
    return process


def _resume(api: Any, process_handle: int) -> None:
    """All of its threads: Popen has closed the handle of the first."""
    status = api.NtResumeProcess(process_handle)
    if status:
        raise OSError(errno.EIO, f"NtResumeProcess failed with {status & 0xFFFFFFFF:#010x}")


def suppress_error_dialogs(api: Any) -> None:
    """For this process and what it starts: a crash must not wait for a click."""
    api.SetErrorMode(api.GetErrorMode() | windows_api.NO_DIALOGS)
