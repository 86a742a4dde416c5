"""The few calls of the Windows API that a Job Object needs, through ctypes.

Structures use fixed-size types, so that their layout can be checked on every platform.
Source: Microsoft's documentation of JOBOBJECT_BASIC_ACCOUNTING_INFORMATION (class 1) and
JOBOBJECT_EXTENDED_LIMIT_INFORMATION (class 9).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

BASIC_ACCOUNTING_INFORMATION = 1
EXTENDED_LIMIT_INFORMATION = 9
LIMIT_JOB_MEMORY = 0x200
KILL_ON_JOB_CLOSE = 0x2000
DIE_ON_UNHANDLED_EXCEPTION = 0x400
# our own status, to tell "we killed it" from a crash
KILLED_BY_US = 0x0A5B_0001
NO_DIALOGS = 0x0001 | 0x0002 | 0x8000


class BasicAccounting(ctypes.Structure):
    """JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, 48 bytes; times in units of 100 ns."""

    _fields_ = (
        ("TotalUserTime", ctypes.c_int64),
        ("TotalKernelTime", ctypes.c_int64),
        ("ThisPeriodTotalUserTime", ctypes.c_int64),
        ("ThisPeriodTotalKernelTime", ctypes.c_int64),
        ("TotalPageFaultCount", ctypes.c_uint32),
        ("TotalProcesses", ctypes.c_uint32),
        ("ActiveProcesses", ctypes.c_uint32),
        ("TotalTerminatedProcesses", ctypes.c_uint32),
    )


class BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION, 64 bytes on 64-bit Windows."""

    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION, 144 bytes on 64-bit Windows."""

    _fields_ = (
        ("BasicLimitInformation", BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


if sys.platform == "win32":

    def _kernel32() -> Any:
        library = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = ctypes.c_void_p
        library.CreateJobObjectW.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p)
        library.CreateJobObjectW.restype = handle
        library.SetInformationJobObject.argtypes = (
            handle,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint32,
        )
        library.QueryInformationJobObject.argtypes = (
            handle,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint32,
            ctypes.c_void_p,
        )
        library.AssignProcessToJobObject.argtypes = (handle, handle)
        library.TerminateJobObject.argtypes = (handle, ctypes.c_uint32)
        library.CloseHandle.argtypes = (handle,)
        library.SetErrorMode.argtypes = (ctypes.c_uint32,)
        return library

    def _check(result: int) -> None:
        if not result:
            raise ctypes.WinError(ctypes.get_last_error())

    class Job:
        """A Job Object whose processes die with its handle, so also with the controller."""

        def __init__(self, memory_limit_bytes: int | None = None) -> None:
            self._api = _kernel32()
            self._handle = self._api.CreateJobObjectW(None, None)
            _check(self._handle)
            limits = ExtendedLimits()
            limits.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE | DIE_ON_UNHANDLED_EXCEPTION
            if memory_limit_bytes is not None:
                limits.BasicLimitInformation.LimitFlags |= LIMIT_JOB_MEMORY
                limits.JobMemoryLimit = memory_limit_bytes
            _check(
                self._api.SetInformationJobObject(
                    self._handle,
                    EXTENDED_LIMIT_INFORMATION,
                    ctypes.byref(limits),
                    ctypes.sizeof(limits),
                )
            )

        def assign(self, process_handle: int) -> None:
            """Put a suspended process in."""
            _check(self._api.AssignProcessToJobObject(self._handle, process_handle))

        def peak_commit_bytes(self) -> int:
            """Highest committed memory of the job, kept by the kernel. Not RAM: no mapped files."""
            limits = ExtendedLimits()
            _check(
                self._api.QueryInformationJobObject(
                    self._handle,
                    EXTENDED_LIMIT_INFORMATION,
                    ctypes.byref(limits),
                    ctypes.sizeof(limits),
                    None,
                )
            )
            return int(limits.PeakJobMemoryUsed)

        def cpu_s(self) -> float | None:
            """CPU time of all that ever ran in it; None if the system does not tell."""
            if not self._handle:  # without one, the system would tell of our own job
                return None
            used = BasicAccounting()
            done = self._api.QueryInformationJobObject(
                self._handle,
                BASIC_ACCOUNTING_INFORMATION,
                ctypes.byref(used),
                ctypes.sizeof(used),
                None,
            )
            return (used.TotalUserTime + used.TotalKernelTime) * 1e-7 if done else None

        def terminate(self) -> None:
            """Kill everything in it; harmless when nothing is left."""
            if self._handle:
                self._api.TerminateJobObject(self._handle, KILLED_BY_US)

        def close(self) -> None:
            """Give the handle back."""
            if self._handle:
                self._api.CloseHandle(self._handle)
                self._handle = None

    def resume(process_handle: int) -> None:
        """Let a process run that was created suspended (Popen has closed the thread's handle)."""
        api = ctypes.WinDLL("ntdll")
        api.NtResumeProcess.argtypes = (ctypes.c_void_p,)
        status = api.NtResumeProcess(process_handle)
        if status:
            raise OSError(f"NtResumeProcess failed with NTSTATUS {status & 0xFFFFFFFF:#010x}")

    def suppress_error_dialogs() -> None:
        """For this process and what it starts."""
        _kernel32().SetErrorMode(NO_DIALOGS)
