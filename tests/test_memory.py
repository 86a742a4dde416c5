"""What a tree holds, said by the kernel's counters: real allocations of a known size."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ROOT, runs
from trees import LIMIT_S, STEPS, line_of, until

from orchestrator import platforms

if sys.platform != "linux":
    pytest.skip("reads Linux's counters", allow_module_level=True)

MIB = 1 << 20
N = 100 * MIB
TOLERANCE = 5 * MIB  # an interpreter's own comings and goings


def growth(tree, go_on):
    """How far one step drives the tree's memory over what it had before; and the whole peak."""
    tree.begin_memory_window()
    before = tree.memory_window().peak_bytes
    go_on()
    after = tree.memory_window()
    return after.peak_bytes - before, after


def test_a_phase_knows_nothing_of_the_one_before(cgroup_or_not, stepped):
    tree, go_on = stepped("step(); block = touched(N); step(); block.close(); step(); step()")
    assert abs(growth(tree, go_on)[0] - N) < TOLERANCE
    go_on()
    tree.begin_memory_window()
    quiet = tree.memory_window().peak_bytes
    assert quiet < N
    assert tree.memory().peak_bytes > quiet + N - TOLERANCE


def test_a_short_spike_in_a_grandchild_is_in_the_peak(stepped):
    tree, go_on = stepped(
        "step()\n"
        "code = 'import mmap; b = mmap.mmap(-1, 100 << 20); b.write(bytes(100 << 20)); b.close()'\n"
        "subprocess.run([sys.executable, '-I', '-S', '-c', code], check=True); step()\n"
    )
    grown, peak = growth(tree, go_on)
    if peak.cgroup_bytes is None:
        pytest.skip("this user cannot make a memory cgroup here")
    assert grown > 0.98 * N  # with the little that the parent let go of before


def test_forks_that_share_memory_count_it_once(cgroup_or_not, stepped):
    tree, go_on = stepped(
        "block = touched(N); step()\n"
        "for _ in range(4): child(lambda: time.sleep(600))\n"
        "time.sleep(1.5); step()\n"
    )
    grown, peak = growth(tree, go_on)
    assert grown < N // 2
    assert peak.resident_bytes > 4 * N  # what a sum over processes would have said


def test_a_child_that_is_not_yet_a_program_does_not_double_its_parent(
    cgroup_or_not, stepped, tmp_path
):
    """posix_spawn lends the child its parent's memory; here until somebody opens the pipe."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    tree, _ = stepped(
        "block = touched(N); step()\n"
        f"pipe = [(os.POSIX_SPAWN_OPEN, 9, {str(fifo)!r}, os.O_RDONLY, 0)]\n"
        "os.posix_spawn(sys.executable, [sys.executable, '-c', ''], {}, file_actions=pipe)\n"
    )
    tree.begin_memory_window()
    tree.write(memoryview(b"\n"), time.monotonic() + LIMIT_S)
    until(lambda: len(tree.pids()) == 2)
    time.sleep(1)  # looks by the dozen
    peak = tree.memory_window()
    fifo.write_bytes(b"")
    assert N < peak.peak_bytes < 1.5 * N
    assert N < peak.resident_bytes < 1.5 * N


def test_two_children_at_once_count_together(cgroup_or_not, stepped):
    tree, go_on = stepped(
        "step()\n"
        "for _ in range(2): child(lambda: (touched(N), time.sleep(600)))\n"
        "time.sleep(1.5); step()\n"
    )
    grown, peak = growth(tree, go_on)
    assert abs(grown - 2 * N) < 3 * TOLERANCE
    if cgroup_or_not == "without a cgroup":
        assert (peak.method, peak.bound) == ("pss-sum", "lower")


def test_a_mapped_file_counts_although_it_was_cached_before(cgroup_or_not, stepped, tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(MIB) * 100)  # written now, so in the page cache
    tree, go_on = stepped(
        f"step(); file = open({str(file)!r}, 'rb')\n"
        "block = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "sum(block[at] for at in range(0, N, 4096)); step()\n"
    )
    assert abs(growth(tree, go_on)[0] - N) < TOLERANCE


def test_a_file_that_is_read_from_disk_counts_once(cgroup_or_not, stepped, tmp_path):
    """A cgroup pays for the copy in the page cache too, which nobody needs any more."""
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(MIB) * 100)
    tree, go_on = stepped(
        f"step(); file = open({str(file)!r}, 'rb', buffering=0)\n"
        "os.fsync(file.fileno()); os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)\n"
        "block = touched(N); file.readinto(block); step()\n"
    )
    grown, peak = growth(tree, go_on)
    assert abs(grown - N) < TOLERANCE
    bound = "exact" if cgroup_or_not == "with a cgroup" else "lower"
    assert (peak.method, peak.bound) == ("vmhwm", bound)
    if cgroup_or_not == "with a cgroup" and peak.cgroup_bytes < 2 * N - TOLERANCE:
        pytest.skip("the file was not read from a disk: is the temporary folder in memory?")


@pytest.mark.parametrize("others_map_it", [False, True])
def test_a_mapped_file_in_one_child_and_memory_in_another_count_together(
    cgroup_or_not, stepped, tmp_path, others_map_it
):
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(MIB) * 100)
    tree, go_on = stepped(
        f"step(); file = open({str(file)!r}, 'rb'); reading, writing = os.pipe()\n"
        "def hold(memory):\n"
        "    os.write(writing, b'x'); time.sleep(600)\n"
        "def read():\n"
        "    block = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "    sum(block[at] for at in range(0, N, 4096)); hold(block)\n"
        "child(read); child(lambda: hold(touched(N)))\n"
        "os.read(reading, 1); os.read(reading, 1); time.sleep(1.5); step()\n"
    )
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as ours:
        if others_map_it:
            sum(ours[at] for at in range(0, N, 4096))
        grown, peak = growth(tree, go_on)
    assert abs(grown - 2 * N) < 3 * TOLERANCE
    assert peak.bound == "lower"


@pytest.fixture
def limited(tmp_path):
    """Start a tree with a limit."""
    trees = []

    def go(source, limit_bytes):
        command = [sys.executable, "-I", "-c", STEPS + source]
        trees.append(platforms.spawn(command, dict(os.environ), tmp_path, limit_bytes))
        return trees[-1]

    yield go
    for tree in trees:
        tree.close()


def test_over_its_limit_a_tree_ends_with_evidence_and_a_lower_bound(cgroup_or_not, limited):
    tree = limited("step(); block = touched(N); time.sleep(600)", 60 * MIB)
    assert line_of(tree.stdout) == "ready"
    assert tree.out_of_memory() is None
    before = tree.memory()
    tree.write(memoryview(b"\n"), time.monotonic() + LIMIT_S)
    assert tree.wait(LIMIT_S) == -9
    until(lambda: tree.out_of_memory() is not None)
    assert "limit of 63 MB" in tree.out_of_memory()
    assert tree.memory().bound == "lower"
    assert before.bound == ("exact" if cgroup_or_not == "with a cgroup" else "lower")


def test_a_grandchild_over_the_limit_is_evidence_too(cgroup_or_not, limited):
    tree = limited("child(lambda: (touched(N), time.sleep(600))); time.sleep(600)", 60 * MIB)
    until(lambda: tree.out_of_memory() is not None)


def test_a_kill_from_outside_is_no_evidence_of_memory(cgroup_or_not, limited):
    tree = limited("step(); time.sleep(600)", 200 * MIB)
    assert line_of(tree.stdout) == "ready"
    os.kill(tree.pid, 9)
    assert tree.wait(LIMIT_S) == -9
    assert tree.out_of_memory() is None


def test_what_a_dead_controller_left_is_ended_by_its_guardian(tmp_path):
    """SIGKILL leaves a controller no last word, and its worker's daemon gets no signal."""
    script = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from orchestrator import platforms\n"
        "daemon = 'import time; time.sleep(600)'\n"
        "code = ('import subprocess, sys; p = subprocess.Popen([sys.executable, \"-c\", '\n"
        "        + repr(daemon) + '], start_new_session=True); print(p.pid, flush=True); '\n"
        "        'import time; time.sleep(600)')\n"
        "tree = platforms.spawn([sys.executable, '-c', code], dict(os.environ), Path('/'))\n"
        "print(tree.stdout.readline().strip().decode(), tree.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    controller = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8"
    )
    daemon, worker = map(int, controller.stdout.readline().split())
    guardians = [one.pid for one in psutil.Process(controller.pid).children() if one.pid != worker]
    controller.kill()
    controller.communicate()
    until(lambda: not runs(daemon) and not runs(worker))
    until(lambda: not any(runs(pid) for pid in guardians))


@pytest.mark.skipif(sys.platform != "linux", reason="a process may choose its name there")
def test_a_process_is_seen_whatever_it_calls_itself(stepped):
    tree, go_on = stepped("step(); open('/proc/self/comm', 'w').write('VmHWM:'); step()\n")
    go_on()
    assert tree.memory().high_water_bytes > MIB
