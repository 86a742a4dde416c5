"""Windows without Windows: layouts, constants, exit statuses; the rest needs a real machine."""

from __future__ import annotations

import ctypes

import psutil
import pytest

from orchestrator.platforms import psutil_trees, windows_api, windows_job
from orchestrator.supervisor.exits import _NTSTATUS, describe_exit, is_out_of_memory

needs_64_bits = pytest.mark.skipif(
    ctypes.sizeof(ctypes.c_void_p) != 8, reason="layouts of 64-bit Windows"
)


@needs_64_bits
@pytest.mark.parametrize(
    ("structure", "size"),
    [
        (windows_api.BasicAccounting, 48),
        (windows_api.BasicLimits, 64),
        (windows_api.ExtendedLimits, 144),
        (windows_api.CompletionPort, 16),
        (windows_api.ProcessIds, 8 + 8 * windows_api.MAX_PIDS),
    ],
)
def test_structures_have_their_documented_size(structure, size):
    assert ctypes.sizeof(structure) == size


@needs_64_bits
@pytest.mark.parametrize(
    ("structure", "field", "offset"),
    [
        (windows_api.BasicAccounting, "TotalKernelTime", 8),
        (windows_api.BasicAccounting, "ActiveProcesses", 40),
        (windows_api.BasicLimits, "LimitFlags", 16),
        (windows_api.BasicLimits, "Affinity", 48),
        (windows_api.ExtendedLimits, "IoInfo", 64),
        (windows_api.ExtendedLimits, "JobMemoryLimit", 120),
        (windows_api.ExtendedLimits, "PeakJobMemoryUsed", 136),
        (windows_api.CompletionPort, "CompletionPort", 8),
        (windows_api.ProcessIds, "ProcessIdList", 8),
    ],
)
def test_fields_are_where_they_are_documented_to_be(structure, field, offset):
    assert getattr(structure, field).offset == offset


def test_constants_have_their_documented_values():
    """winnt.h, errhandlingapi.h, handleapi.h."""
    assert windows_api.BASIC_ACCOUNTING_INFORMATION == 1
    assert windows_api.BASIC_PROCESS_ID_LIST == 3
    assert windows_api.ASSOCIATE_COMPLETION_PORT_INFORMATION == 7
    assert windows_api.EXTENDED_LIMIT_INFORMATION == 9
    assert windows_api.LIMIT_JOB_MEMORY == 0x00000200
    assert windows_api.DIE_ON_UNHANDLED_EXCEPTION == 0x00000400
    assert windows_api.KILL_ON_JOB_CLOSE == 0x00002000
    assert windows_api.MSG_JOB_MEMORY_LIMIT == 10
    assert windows_api.NO_DIALOGS == 0x8003
    assert 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1 == windows_api.INVALID_HANDLE


def test_no_handle_loses_its_upper_half():
    """The first argument of all that act on a job, port or process is a handle."""
    for name, (result, arguments) in windows_api.SIGNATURES.items():
        if name.startswith("Create"):
            assert ctypes.sizeof(result) == ctypes.sizeof(ctypes.c_void_p)
        elif "ErrorMode" not in name:
            assert arguments[0] is ctypes.c_void_p


STATUSES = {
    # MS-ERREF 2.3.1, but for the last four
    "FATAL_APP_EXIT": 0x40000015,
    "BREAKPOINT": 0x80000003,
    "ACCESS_VIOLATION": 0xC0000005,
    "IN_PAGE_ERROR": 0xC0000006,
    "NO_MEMORY": 0xC0000017,
    "ILLEGAL_INSTRUCTION": 0xC000001D,
    "NONCONTINUABLE_EXCEPTION": 0xC0000025,
    "INVALID_IMAGE_FORMAT": 0xC000007B,
    "INTEGER_DIVIDE_BY_ZERO": 0xC0000094,
    "PRIVILEGED_INSTRUCTION": 0xC0000096,
    "INSUFFICIENT_RESOURCES": 0xC000009A,
    "STACK_OVERFLOW": 0xC00000FD,
    "COMMITMENT_LIMIT": 0xC000012D,
    "DLL_NOT_FOUND": 0xC0000135,
    "ORDINAL_NOT_FOUND": 0xC0000138,
    "ENTRYPOINT_NOT_FOUND": 0xC0000139,
    "CONTROL_C_EXIT": 0xC000013A,
    "DLL_INIT_FAILED": 0xC0000142,
    "HEAP_CORRUPTION": 0xC0000374,
    "STACK_BUFFER_OVERRUN": 0xC0000409,
    "INVALID_CRUNTIME_PARAMETER": 0xC0000417,
    "ASSERTION_FAILURE": 0xC0000420,
    "INVALID_IMAGE_HASH": 0xC0000428,
    "FAIL_FAST_EXCEPTION": 0xC0000602,
    "delay-loaded module not found": 0xC06D007E,
    "delay-loaded procedure not found": 0xC06D007F,
    "C++ exception": 0xE06D7363,
    "killed by us": windows_job.KILLED_BY_US,
}


@pytest.mark.parametrize("status", STATUSES.values(), ids=STATUSES)
def test_a_status_is_said_in_words_whether_its_number_is_signed_or_not(status):
    words = describe_exit(status)
    assert words.startswith(f"ended with {status:#010x} (")
    assert describe_exit(ctypes.c_int32(status).value) == words
    assert is_out_of_memory(status) == (words.endswith("no memory)"))


def test_the_table_has_no_status_but_those_that_were_looked_up():
    assert set(_NTSTATUS) == set(STATUSES.values())


def test_a_kill_of_ours_is_told_from_another_kill():
    """TerminateProcess, by Popen.kill() and by the Task Manager, gives 1."""
    assert describe_exit(windows_job.KILLED_BY_US).endswith("(killed by asrbench)")
    assert describe_exit(1) == "exited with status 1"


def test_abort_is_told_where_it_ends_with_a_status(monkeypatch):
    """With faulthandler's handler for SIGABRT, Windows' C runtime ends with _exit(3)."""
    monkeypatch.setattr("orchestrator.supervisor.exits.ABORT_STATUS", 3)
    assert describe_exit(3) == "exited with status 3 (as abort() does here: see the log)"
    assert describe_exit(4) == "exited with status 4"


@pytest.mark.parametrize(
    ("names", "peak"),
    [(("peak_wset",), 9), (("peak_rss",), 9), (("peak_rss", "peak_wset"), 9), ((), 5)],
    ids=["psutil 7", "psutil 8", "both", "elsewhere"],
)
def test_a_processs_own_peak_is_found_under_either_name(monkeypatch, names, peak):
    memory = type("pmem", (), {"rss": 5} | dict.fromkeys(names, 9))()
    monkeypatch.setattr(psutil.Process, "memory_info", lambda process: memory)
    sample = psutil_trees.look_at([psutil.Process().pid])
    assert (sample.resident_bytes, list(sample.high_water_bytes.values())) == (5, [peak])
