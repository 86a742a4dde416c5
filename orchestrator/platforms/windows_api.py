"""The calls of the Windows API that a Job Object needs: types, structures, constants.

All but load() works on every platform, so that layouts can be checked anywhere, and so that a
stand-in for kernel32 can be called through the very types that Windows is called with. Hence
fixed-size types: those of ctypes.wintypes have other sizes elsewhere.
Source: Microsoft's documentation of each function and structure, winnt.h.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import types
from ctypes import c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, c_wchar_p
from typing import Any

# JOBOBJECTINFOCLASS
BASIC_ACCOUNTING_INFORMATION = 1
BASIC_PROCESS_ID_LIST = 3
ASSOCIATE_COMPLETION_PORT_INFORMATION = 7
EXTENDED_LIMIT_INFORMATION = 9
# JOB_OBJECT_LIMIT_*
LIMIT_JOB_MEMORY = 0x200
DIE_ON_UNHANDLED_EXCEPTION = 0x400
KILL_ON_JOB_CLOSE = 0x2000
# JOB_OBJECT_MSG_*
MSG_JOB_MEMORY_LIMIT = 10
# SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX, SEM_NOOPENFILEERRORBOX
NO_DIALOGS = 0x0001 | 0x0002 | 0x8000
INVALID_HANDLE = c_void_p(-1).value
MAX_PIDS = 1024

# function: result, arguments. A handle has 64 bits; undeclared, ctypes would pass and return 32.
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "CreateJobObjectW": (c_void_p, (c_void_p, c_wchar_p)),
    "SetInformationJobObject": (c_int32, (c_void_p, c_int32, c_void_p, c_uint32)),
    "QueryInformationJobObject": (c_int32, (c_void_p, c_int32, c_void_p, c_uint32, c_void_p)),
    "AssignProcessToJobObject": (c_int32, (c_void_p, c_void_p)),
    "TerminateJobObject": (c_int32, (c_void_p, c_uint32)),
    "CreateIoCompletionPort": (c_void_p, (c_void_p, c_void_p, c_size_t, c_uint32)),
    "GetQueuedCompletionStatus": (c_int32, (c_void_p, c_void_p, c_void_p, c_void_p, c_uint32)),
    "CloseHandle": (c_int32, (c_void_p,)),
    "GetErrorMode": (c_uint32, ()),
    "SetErrorMode": (c_uint32, (c_uint32,)),
    "NtResumeProcess": (c_int32, (c_void_p,)),
}


class BasicAccounting(ctypes.Structure):
    """JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, 48 bytes; times in units of 100 ns."""

    _fields_ = (
        ("TotalUserTime", c_int64),
        ("TotalKernelTime", c_int64),
        ("ThisPeriodTotalUserTime", c_int64),
        ("ThisPeriodTotalKernelTime", c_int64),
        ("TotalPageFaultCount", c_uint32),
        ("TotalProcesses", c_uint32),
        ("ActiveProcesses", c_uint32),
        ("TotalTerminatedProcesses", c_uint32),
    )


class BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION, 64 bytes on 64-bit Windows."""

    _fields_ = (
        ("PerProcessUserTimeLimit", c_int64),
        ("PerJobUserTimeLimit", c_int64),
        ("LimitFlags", c_uint32),
        ("MinimumWorkingSetSize", c_size_t),
        ("MaximumWorkingSetSize", c_size_t),
        ("ActiveProcessLimit", c_uint32),
        ("Affinity", c_size_t),
        ("PriorityClass", c_uint32),
        ("SchedulingClass", c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION, 144 bytes on 64-bit Windows; memory is commit."""

    _fields_ = (
        ("BasicLimitInformation", BasicLimits),
        ("IoInfo", c_uint64 * 6),
        ("ProcessMemoryLimit", c_size_t),
        ("JobMemoryLimit", c_size_t),
        ("PeakProcessMemoryUsed", c_size_t),
        ("PeakJobMemoryUsed", c_size_t),
    )


class ProcessIds(ctypes.Structure):
    """JOBOBJECT_BASIC_PROCESS_ID_LIST with room for MAX_PIDS."""

    _fields_ = (
        ("NumberOfAssignedProcesses", c_uint32),
        ("NumberOfProcessIdsInList", c_uint32),
        ("ProcessIdList", c_size_t * MAX_PIDS),
    )


class CompletionPort(ctypes.Structure):
    """JOBOBJECT_ASSOCIATE_COMPLETION_PORT, 16 bytes on 64-bit Windows."""

    _fields_ = (("CompletionKey", c_void_p), ("CompletionPort", c_void_p))


if sys.platform == "win32":

    @functools.cache
    def load() -> Any:
        """An object with the functions of SIGNATURES, and last_error() → OSError."""
        kernel32, ntdll = ctypes.WinDLL("kernel32", use_last_error=True), ctypes.WinDLL("ntdll")
        api = types.SimpleNamespace(last_error=lambda: ctypes.WinError(ctypes.get_last_error()))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(ntdll if name.startswith("Nt") else kernel32, name)
            function.restype, function.argtypes = result, arguments
            setattr(api, name, function)
        return api
