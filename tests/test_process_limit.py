"""A worker that takes every process below a limit, as of a container: no thread can be started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from conftest import ROOT
from trees import LIMIT_S, until

from orchestrator.platforms import devices
from orchestrator.run.surroundings import Surroundings
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.worker import Worker

PIDS = Path("/sys/fs/cgroup/pids")
BOMB = """
import os, sys, time
sys.stdin.readline()
while True:
    try:
        os.fork()
    except OSError:
        print("full", flush=True)
    time.sleep(0.002)
"""
CONTROLLER = """
import os, sys
from pathlib import Path
from orchestrator import platforms
from orchestrator.platforms import guardian
from orchestrator.platforms.procfs import state
members = Path(sys.argv[1]) / "cgroup.procs"
members.write_text(str(os.getpid()), encoding="ascii")
command = [sys.executable, "-I", "-c", sys.argv[2]]
tree = platforms.spawn(command, dict(os.environ), Path(sys.argv[1]))
members.write_text(str(tree.pid), encoding="ascii")
tree.write(memoryview(b"\\n"), float("inf"))
tree.stdout.readinto(memoryview(bytearray(4)))
assert tree.close() is None
marks = {pid: mark for pid, mark in guardian.marked()[0].items() if f"-{os.getpid()}-" in mark}
print([pid for pid in marks if state(pid) not in (None, "Z")])
"""


@pytest.fixture
def at_most_100():
    """A cgroup for as many processes and threads."""
    folder = PIDS / f"test-of-a-process-limit-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no cgroup that limits processes can be made here")
    (folder / "pids.max").write_text("100", encoding="ascii")
    yield folder
    until(lambda: not (folder / "cgroup.procs").read_text(encoding="ascii"))
    folder.rmdir()


def test_a_fork_bomb_below_a_limit_of_processes_is_ended(at_most_100):
    done = subprocess.run(
        [sys.executable, "-c", CONTROLLER, str(at_most_100), BOMB],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("name", ["memory sampler", "log pump", "reply reader", "exit waiter"])
def test_a_thread_that_cannot_be_started_is_a_fault_and_leaves_no_process(
    monkeypatch, tmp_path, name
):
    start, children = threading.Thread.start, set(psutil.Process().children())

    def refuse(thread):
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    spec = WorkerSpec(Path(sys.executable), tmp_path, "worker", {}, {}, None, "cpu")
    with pytest.raises(WorkerFault, match="can't start new thread") as caught:
        Worker(spec, tmp_path / "log.txt")
    assert caught.value.outcome == "crashed"
    left = {one for one in set(psutil.Process().children()) - children if "host.py" in str(one)}
    assert not left


@pytest.mark.skipif(sys.platform != "linux", reason="there is a guardian on Linux only")
def test_a_guardian_that_cannot_be_started_leaves_no_descriptor_and_no_cgroup(
    monkeypatch, tmp_path
):
    from orchestrator.platforms import cgroups, linux

    def refuse(*arguments, **keywords):
        raise BlockingIOError("no process")

    monkeypatch.setattr(linux, "_guardian", linux._guardian.__wrapped__)  # not yet started
    before, made = psutil.Process().num_fds(), []
    monkeypatch.setattr(cgroups, "make_cgroup", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(subprocess, "Popen", refuse)
    for _ in range(3):
        with pytest.raises(BlockingIOError, match="no process"):
            linux.spawn([sys.executable], {}, tmp_path)
    assert psutil.Process().num_fds() <= before
    assert not made


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux only")
@pytest.mark.parametrize("first", ["scratch.make_scratch()", "linux.spawn(['true'], {}, Path())"])
def test_a_place_for_cgroups_is_looked_for_before_there_is_a_child(first):
    """It may be a place of our own only as long as we are alone in our cgroup."""
    source = f"""
import psutil
from pathlib import Path
from orchestrator.platforms import cgroups, linux
from orchestrator.supervisor import scratch
asked = []
def delegated(proc):
    asked.append(psutil.Process().children())
    return []
cgroups._candidates, cgroups._delegated = lambda proc: [], delegated
{first}
print(asked[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_watching_that_cannot_begin_leaves_no_thread(monkeypatch):
    start, before = threading.Thread.start, set(threading.enumerate())

    def refuse(thread):
        if thread.name == "energy meter":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for sources in ("device_sources", "energy_counters"):
        monkeypatch.setattr(devices, sources, lambda: [SimpleNamespace()])
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Surroundings(SimpleNamespace(pids=list))
    until(lambda: set(threading.enumerate()) <= before)
