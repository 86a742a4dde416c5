"""What stands in for kernel32 and ntdll: POSIX processes, called through Windows' own types.

Each function is a C callback with the types of windows_api.SIGNATURES, so that a handle that lost
its upper half, a structure that is too short or a missing argument shows here as it would there.
A job is a session: what a process starts is in it, whether its parent lives or not (but, unlike in
a real job, not what makes a session of its own).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess

import psutil
from trees import until

from orchestrator.platforms import windows_api
from orchestrator.platforms.windows_tree import WindowsProcessTree

JOB, PORT = 0x7FFF_0000_1111_2224, 0x7FFF_0000_3333_4448
PROCESS = 0x7000_0000_0000_0000  # plus the process id: its handle
STOPPED_THEN = ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh"]
SETTERS = {
    windows_api.EXTENDED_LIMIT_INFORMATION: windows_api.ExtendedLimits,
    windows_api.ASSOCIATE_COMPLETION_PORT_INFORMATION: windows_api.CompletionPort,
}


class StandIn:
    """failing: the functions that fail. calls: what was called; given: structures by kind."""

    def __init__(self, *failing):
        self.failing = failing
        self.calls = []
        self.given = {}
        self.session = None
        self.messages = []  # (number, process id)
        self.peak_commit_bytes = 0
        for name, (result, arguments) in windows_api.SIGNATURES.items():
            callback = ctypes.CFUNCTYPE(result, *arguments)
            setattr(self, name, callback(self._recording(name)))

    def last_error(self):
        return OSError(5, "Access is denied")

    def members(self):
        return [] if self.session is None else [pid for pid in psutil.pids() if self._lives(pid)]

    def names(self):
        """Of the calls, but for those that only look."""
        looking = ("QueryInformationJobObject", "GetQueuedCompletionStatus")
        return [name for name, *_ in self.calls if name not in looking]

    def _recording(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            failure = -0x3FFF_FFDE if name.startswith("Nt") else 0  # STATUS_ACCESS_DENIED
            if name in self.failing:
                return failure
            return getattr(self, "_" + name)(*arguments)

        return call

    def _lives(self, pid):
        try:
            return os.getsid(pid) == self.session and psutil.Process(pid).status() != "zombie"
        except (ProcessLookupError, psutil.Error):
            return False

    def _CreateJobObjectW(self, security, name):  # noqa: N802
        return JOB

    def _CreateIoCompletionPort(self, file, port, key, threads):  # noqa: N802
        return PORT

    def _SetInformationJobObject(self, job, kind, pointer, size):  # noqa: N802
        self.given[kind] = SETTERS[kind].from_buffer_copy(ctypes.string_at(pointer, size))
        return job == JOB

    def _AssignProcessToJobObject(self, job, process):  # noqa: N802
        pid = process - PROCESS
        until(lambda: psutil.Process(pid).status() == "stopped")
        assert psutil.Process(pid).children() == []
        self.session = os.getsid(pid)
        return job == JOB

    def _NtResumeProcess(self, process):  # noqa: N802
        os.kill(process - PROCESS, signal.SIGCONT)
        return 0

    def _TerminateJobObject(self, job, status):  # noqa: N802
        while members := self.members():
            for pid in members:
                with contextlib.suppress(ProcessLookupError):  # ended and waited for meanwhile
                    os.kill(pid, signal.SIGKILL)
        return job == JOB

    def _QueryInformationJobObject(self, job, kind, pointer, size, needed):  # noqa: N802
        pids = self.members()
        if kind == windows_api.BASIC_ACCOUNTING_INFORMATION:
            found = windows_api.BasicAccounting(
                TotalUserTime=30_000_000, TotalKernelTime=5_000_000, ActiveProcesses=len(pids)
            )
        elif kind == windows_api.BASIC_PROCESS_ID_LIST:
            found = windows_api.ProcessIds(len(pids), len(pids))
            found.ProcessIdList[: len(pids)] = pids
        else:
            found = windows_api.ExtendedLimits(PeakJobMemoryUsed=self.peak_commit_bytes)
        assert (job, size) == (JOB, ctypes.sizeof(found))
        ctypes.memmove(pointer, ctypes.byref(found), size)
        return 1

    def _GetQueuedCompletionStatus(self, port, message, key, overlapped, wait_ms):  # noqa: N802
        assert (port, wait_ms) == (PORT, 0)
        if not self.messages:
            return 0
        number, pid = self.messages.pop(0)
        ctypes.c_uint32.from_address(message).value = number
        ctypes.c_void_p.from_address(overlapped).value = pid
        return 1

    def _CloseHandle(self, handle):  # noqa: N802
        return handle in (JOB, PORT)

    def _GetErrorMode(self):  # noqa: N802
        return 0x0004

    def _SetErrorMode(self, mode):  # noqa: N802
        return 0


def create_suspended(command, environment, folder):
    """As windows.spawn() does, by POSIX means: stopped before it becomes the command."""
    process = subprocess.Popen(
        [*STOPPED_THEN, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )
    return process, PROCESS + process.pid


def spawn(command, environment, folder, memory_limit_bytes=None, api=None):
    """platforms.spawn() with the tree that Windows has."""

    def create():
        return create_suspended(command, environment, folder)

    return WindowsProcessTree(api or StandIn(), create, memory_limit_bytes)
