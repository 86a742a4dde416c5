"""The sequence of calls around a Job Object, against a stand-in for the kernel with its types."""

from __future__ import annotations

import os
import sys

import pytest
from conftest import runs
from windows_stand_in import JOB, PORT, PROCESS, StandIn, create_suspended, spawn

from orchestrator.platforms import windows_api
from orchestrator.platforms.windows_job import KILLED_BY_US, Job, suppress_error_dialogs
from orchestrator.platforms.windows_tree import WindowsProcessTree

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the stand-in is made of POSIX processes"
)
SLEEP = [sys.executable, "-I", "-c", "import time; time.sleep(600)"]
LIMITS = windows_api.EXTENDED_LIMIT_INFORMATION
PORTS = windows_api.ASSOCIATE_COMPLETION_PORT_INFORMATION


@pytest.fixture
def tree(tmp_path):
    """Start a tree with this stand-in; closed at the end."""
    trees = []

    def go(api, command=SLEEP, limit=None):
        trees.append(spawn(command, dict(os.environ), tmp_path, limit, api))
        return trees[-1]

    yield go
    for one in trees:
        one.close()


def test_a_process_runs_only_when_it_is_in_a_limited_job(tree):
    api = StandIn()
    one = tree(api)
    assert api.names() == [
        "GetErrorMode",
        "SetErrorMode",
        "CreateJobObjectW",
        "SetInformationJobObject",
        "AssignProcessToJobObject",  # the stand-in sees that it is stopped, without children
        "NtResumeProcess",
    ]
    assert ("AssignProcessToJobObject", JOB, PROCESS + one.pid) in api.calls
    assert ("NtResumeProcess", PROCESS + one.pid) in api.calls
    assert api.given[LIMITS].BasicLimitInformation.LimitFlags == 0x2400
    assert api.given[LIMITS].JobMemoryLimit == 0


def test_a_memory_limit_is_the_jobs_and_its_port_is_there_before_the_process(tree):
    api = StandIn()
    tree(api, limit=5 << 30)
    names = api.names()
    assert names.index("CreateIoCompletionPort") < names.index("AssignProcessToJobObject")
    assert api.given[LIMITS].BasicLimitInformation.LimitFlags == 0x2600
    assert api.given[LIMITS].JobMemoryLimit == 5 << 30
    assert api.given[PORTS].CompletionPort == PORT
    assert ("CreateIoCompletionPort", windows_api.INVALID_HANDLE, None, 0, 1) in api.calls


@pytest.mark.parametrize("failing", ["AssignProcessToJobObject", "NtResumeProcess"])
def test_a_process_that_cannot_be_put_in_or_resumed_does_not_stay(tmp_path, failing):
    api, made = StandIn(failing), []

    def create():
        made.append(create_suspended(SLEEP, dict(os.environ), tmp_path))
        return made[-1]

    with pytest.raises(OSError, match=r"Access is denied|NtResumeProcess failed with 0xc0000022"):
        WindowsProcessTree(api, create)
    process, _ = made[0]
    assert process.returncode == -9
    assert not runs(process.pid)
    assert process.stdin.closed
    assert process.stdout.closed
    assert process.stderr.closed
    assert api.calls[-1] == ("CloseHandle", JOB)


def test_a_program_that_is_not_there_leaves_no_job(tmp_path):
    api = StandIn()

    def create():
        raise FileNotFoundError(2, "no such program")

    with pytest.raises(FileNotFoundError):
        WindowsProcessTree(api, create)
    assert api.calls[-1] == ("CloseHandle", JOB)


@pytest.mark.parametrize("failing", ["SetInformationJobObject", "CreateIoCompletionPort"])
def test_a_job_that_cannot_be_limited_is_closed(failing):
    api = StandIn(failing)
    with pytest.raises(OSError, match="Access is denied"):
        Job(api, 1 << 30)
    assert ("CloseHandle", JOB) in api.calls


def test_no_job_is_an_error():
    with pytest.raises(OSError, match="Access is denied"):
        Job(StandIn("CreateJobObjectW"))


def test_a_tree_is_killed_with_our_status_and_its_handles_are_given_back(tree):
    api = StandIn()
    one = tree(api, limit=1 << 30)
    assert one.close() is None
    assert ("TerminateJobObject", JOB, KILLED_BY_US) in api.calls
    assert sorted(call[1] for call in api.calls if call[0] == "CloseHandle") == [JOB, PORT]
    assert not runs(one.pid)


def test_a_closed_job_asks_the_kernel_nothing():
    """Without a handle, the system would tell of the job that the controller is in."""
    api = StandIn()
    job = Job(api)
    job.close()
    api.calls.clear()
    assert (job.cpu_s(), job.active(), job.pids()) == (None, 0, [])
    assert (job.peak_commit_bytes(), job.refused_pids()) == (None, set())
    job.terminate()
    job.close()
    assert api.calls == []


def test_counters_that_the_kernel_does_not_tell_are_not_known(tree):
    one = tree(StandIn("QueryInformationJobObject"))
    assert one.cpu_s_by_pid() == {}
    assert one.memory() is None
    one._process.kill()


def test_counters_are_those_of_the_job(tree):
    api = StandIn()
    api.peak_commit_bytes = 6 << 30
    one = tree(api)
    assert one.cpu_s_by_pid() == {one.pid: pytest.approx(3.5)}
    assert one.memory().commit_bytes == 6 << 30
    assert one.memory_window().commit_bytes is None


def test_memory_ran_out_only_if_the_kernel_said_so(tree):
    api = StandIn()
    api.peak_commit_bytes = (1 << 30) - 1  # as near to the limit as can be, and no evidence
    api.messages = [(6, 77), (7, 77), (8, 78)]  # a process began, ended, crashed
    one = tree(api, limit=1 << 30)
    assert one.out_of_memory() is None
    api.messages.append((windows_api.MSG_JOB_MEMORY_LIMIT, 4242))
    words = one.out_of_memory()
    assert words == (
        "Windows refused memory to process 4242: the limit is 1074 MB of committed memory; "
        "1074 MB were committed at most"
    )
    assert one.out_of_memory() == words  # it stays known


def test_without_a_limit_nothing_is_refused_by_it(tree):
    api = StandIn()
    api.messages = [(windows_api.MSG_JOB_MEMORY_LIMIT, 4242)]
    assert tree(api).out_of_memory() is None


def test_what_cannot_be_killed_is_named_and_its_pipes_stay_open(tree, monkeypatch):
    """Closing a pipe that a thread reads would wait for that process, on Windows."""
    monkeypatch.setattr("orchestrator.platforms.windows_tree.KILL_WAIT_S", 0.05)
    api = StandIn("TerminateJobObject")
    one = tree(api)
    assert one.close() == f"process {one.pid} cannot be killed: a driver may be stuck"
    assert not one.stdout.closed
    one._process.kill()
    assert one.wait(60) == -9


def test_dialogs_are_off_beside_what_was_off_before():
    api = StandIn()
    suppress_error_dialogs(api)
    assert api.calls[-1] == ("SetErrorMode", 0x8007)
