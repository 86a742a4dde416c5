"""Exit statuses in words. Pure functions of a number, for POSIX signals and Windows NTSTATUS."""

from __future__ import annotations

import signal

from orchestrator.platforms.windows_job import ABORT_STATUS, KILLED_BY_US

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
# Microsoft's NTSTATUS values (MS-ERREF); 0xC06D… are Visual C++'s for delay-loaded DLLs
_NTSTATUS = {
    0x40000015: "a native library gave up: see the log",
    0x80000003: "a breakpoint: a native library's own check failed",
    0xC0000005: "access violation: a native library touched memory that is not its own",
    0xC0000006: "a mapped file could not be read: a disk or memory error",
    NO_MEMORY: "no memory",
    0xC000001D: "illegal instruction: a wrong build for this CPU",
    0xC0000025: "an exception in a native library that nothing can follow",
    0xC000007B: "a DLL is damaged or for another architecture: a broken env",
    0xC0000094: "integer division by zero in a native library",
    0xC0000096: "privileged instruction: a native library ran wild",
    0xC000009A: "Windows ran out of a resource of its own",
    0xC00000FD: "stack overflow",
    COMMITMENT_LIMIT: "commit limit: no memory",
    0xC0000135: "a DLL is missing: a broken env, driver or VC++ runtime",
    0xC0000138: "a DLL lacks an entry point: a broken env or driver",
    0xC0000139: "a DLL lacks an entry point: a broken env or driver",
    0xC000013A: "Ctrl-C, or its console was closed",
    0xC0000142: "a DLL failed to start",
    0xC0000374: "heap corruption",
    0xC0000409: "abort() or a stack overrun: see the log",
    0xC0000417: "a native library called the C runtime with a wrong argument",
    0xC0000420: "a native library's own check failed",
    0xC0000428: "Windows does not trust a DLL's signature: see Smart App Control",
    0xC0000602: "fail-fast exception",
    0xC06D007E: "a DLL is missing that is loaded when needed: a broken env or driver",
    0xC06D007F: "a DLL lacks an entry point that is looked up when needed: a broken env or driver",
    KILLED_BY_US: "killed by asrbench",
    0xE06D7363: "uncaught C++ exception",
}


def is_out_of_memory(returncode: int) -> bool:
    """Whether the status itself says so, which only Windows does."""
    return returncode & 0xFFFFFFFF in (NO_MEMORY, COMMITMENT_LIMIT)


def describe_exit(returncode: int) -> str:
    """How a process ended, in words: what subprocess reports on either kind of platform.

    Windows statuses come unsigned, but a program in between may have made them negative.
    """
    status = returncode & 0xFFFFFFFF
    if status in _NTSTATUS:
        return f"ended with {status:#010x} ({_NTSTATUS[status]})"
    if returncode < 0:
        return _signal(-returncode)
    if status > 0xFFFF:
        return f"ended with {status:#010x}"
    hint = " (as abort() does here: see the log)" if returncode == ABORT_STATUS else ""
    return f"exited with status {returncode}{hint}"


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"killed by signal {number}"
    hint = _SIGNAL_HINTS.get(name)
    return f"killed by {name}" + (f" ({hint})" if hint else "")
