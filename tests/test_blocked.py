"""A process that cannot be looked into: a driver that hangs holds its address space."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import runs
from trees import LIMIT_S, line_of, until

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

from orchestrator.platforms import cgroups, guardian, procfs, proportional

STARTS_A_DAEMON = """
import subprocess, sys
for line in sys.stdin:
    daemon = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True)
    print(daemon.pid, flush=True)
"""


@pytest.fixture
def blocked(monkeypatch):
    """Start a process; whoever reads its environment waits until the test is over."""
    read, over, made = guardian._read, threading.Event(), []

    def read_or_wait(file):
        if file in [f"/proc/{one.pid}/environ" for one in made]:
            over.wait(LIMIT_S)
        return read(file)

    monkeypatch.setattr(guardian, "_read", read_or_wait)

    def go():
        made.append(subprocess.Popen(["sleep", "600"]))
        return made[-1].pid

    yield go
    over.set()
    for process in made:
        process.kill()
        process.wait()


def daemon_of(tree):
    tree.write(memoryview(b"\n"), float("inf"))
    return int(line_of(tree.stdout))


def test_a_daemon_is_killed_although_a_process_before_it_cannot_be_read(blocked, start):
    tree = start(STARTS_A_DAEMON)
    pid, daemon = blocked(), daemon_of(tree)
    assert os.listdir("/proc").index(str(pid)) < os.listdir("/proc").index(str(daemon))  # noqa: PTH208
    said = tree.close()
    assert f"process {pid} hangs" in said
    assert runs(pid)
    until(lambda: not runs(daemon))


def test_a_process_that_is_older_than_the_tree_is_not_read(blocked, start):
    pid, tree = blocked(), None
    started = guardian.started(pid)
    until(lambda: later_than(started))
    tree = start(STARTS_A_DAEMON)
    daemon = daemon_of(tree)
    assert tree.close() is None
    assert runs(pid)
    until(lambda: not runs(daemon))


def later_than(ticks):
    """A clock tick has passed: it is the unit of a process's age."""
    with subprocess.Popen(["true"]) as process:
        return guardian.started(process.pid) > ticks


def test_files_that_give_no_answer_are_left_behind_and_named(tmp_path):
    """One that waits when it is opened, as a real one does while it is read."""
    for pid, mark in {7: "old", 8: "a", 9: None, 10: "b", 11: None, 12: "c"}.items():
        folder = tmp_path / str(pid)
        folder.mkdir()
        fields = " ".join(["S", *"1" * 18, str(pid * 100), *"1" * 30])
        (folder / "stat").write_text(f"{pid} (a) b) {fields}\n", encoding="utf-8")
        if mark is None:
            os.mkfifo(folder / "environ")
        else:
            variables = f"HOME=/\0{guardian.TREE_MARK}={mark}\0"
            (folder / "environ").write_text(variables, encoding="utf-8")
    try:
        found = guardian.marked(since=800, proc=tmp_path)
        assert found == ({8: "a", 10: "b", 12: "c"}, False, {9, 11})
        found = guardian.marked(since=800, skip={9, 11}, proc=tmp_path)
        assert found == ({8: "a", 10: "b", 12: "c"}, False, set())
    finally:
        for pid in (9, 11):  # let the readers go
            with Path(tmp_path, str(pid), "environ").open("wb"):
                pass


def test_memory_is_told_although_page_tables_cannot_be_read(monkeypatch, start):
    """Without a cgroup, which would make them needless."""
    over, asked = threading.Event(), list[list[int]]()

    def wait(pids):
        asked.append(pids)
        over.wait(LIMIT_S)

    monkeypatch.setattr(cgroups, "make_cgroup", lambda limit_bytes=None: None)
    monkeypatch.setattr(procfs, "proportional_bytes", wait)
    tree = start(STARTS_A_DAEMON)
    try:
        daemon = daemon_of(tree)
        until(lambda: asked)
        assert tree.memory().peak_bytes > 1 << 20
        tree.begin_memory_window()
        assert tree.memory_window().bound == "lower"
        assert len(asked) == 1
    finally:
        tree.close()
        over.set()
    until(lambda: not runs(daemon))


def test_page_tables_that_are_read_slowly_count_when_they_are_read(monkeypatch):
    over, memory = threading.Event(), proportional.ProportionalMemory()
    monkeypatch.setattr(proportional, "ANSWER_S", 0.01)
    monkeypatch.setattr(procfs, "proportional_bytes", lambda pids: over.wait(LIMIT_S) and len(pids))
    assert memory.now([1, 2, 3]) is None
    assert memory.now([1, 2]) is None
    over.set()
    until(lambda: memory.now([1, 2]) is not None)
    assert memory.now([1]) == 1
    over.clear()
    assert memory.now([1, 2, 3]) is None
    memory.forget()
    over.set()
    until(lambda: (found := memory.now([1])) is not None and found == 1)
