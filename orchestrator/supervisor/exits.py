"""Exit statuses in words. Pure functions of a number, for POSIX signals and Windows NTSTATUS."""

from __future__ import annotations

import signal

from orchestrator.platforms.windows_job import KILLED_BY_US

# the signal's usual meaning for a model's process
_SIGNAL_HINTS = {
    "SIGSEGV": "a native library touched memory that is not its own",
    "SIGABRT": "a native library gave up: see the log",
    "SIGILL": "an instruction that this CPU does not have: a wrong build",
    "SIGFPE": "an arithmetic error in a native library",
    "SIGBUS": "a mapped file shrank, or a disk or memory error",
    "SIGKILL": "by the system when memory runs out, or by someone",
    "SIGTERM": "someone asked it to end",
}
NO_MEMORY = 0xC0000017
COMMITMENT_LIMIT = 0xC000012D
_NTSTATUS = {
    0xC0000005: "access violation: a native library touched memory that is not its own",
    NO_MEMORY: "no memory",
    COMMITMENT_LIMIT: "commit limit: no memory",
    0xC000001D: "illegal instruction: a wrong build for this CPU",
    0xC00000FD: "stack overflow",
    0xC0000135: "a DLL is missing: a broken env, driver or VC++ runtime",
    0xC0000139: "a DLL lacks an entry point: a broken env or driver",
    0xC0000142: "a DLL failed to start",
    0xC000013A: "Ctrl-C, or its console was closed",
    0xC0000374: "heap corruption",
    0xC0000409: "abort() or a stack overrun: see the log",
    0xC0000602: "fail-fast exception",
    KILLED_BY_US: "killed by asrbench",
    0xE06D7363: "uncaught C++ exception",
}


def is_out_of_memory(returncode: int) -> bool:
    """Whether the status itself says so, which only Windows does."""
    return returncode & 0xFFFFFFFF in (NO_MEMORY, COMMITMENT_LIMIT)


def describe_exit(returncode: int) -> str:
    """How a process ended, in words: what subprocess reports on either kind of platform."""
    status = returncode & 0xFFFFFFFF
    if status in _NTSTATUS:
        return f"ended with {status:#010x} ({_NTSTATUS[status]})"
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:
            return f"killed by signal {-returncode}"
        hint = _SIGNAL_HINTS.get(name)
        return f"killed by {name}" + (f" ({hint})" if hint else "")
    if status > 0xFFFF:
        return f"ended with {status:#010x}"
    return f"exited with status {returncode}"
