"""Trees of real processes: found, measured, written to and killed to the last one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import runs
from trees import ALLOCATE, LIMIT_S, line_of, until

from orchestrator import platforms
from orchestrator.platforms import psutil_trees
from orchestrator.platforms.sampling import Peaks, Sample, Sampler
from orchestrator.supervisor.exits import describe_exit

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
if sys.platform == "linux":
    from orchestrator.platforms import cgroups, procfs

SPAWN_SLEEPER = """
import os, subprocess, sys, time
p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(p.pid, flush=True)
"""


@linux_only
def test_procfs_sees_a_child_and_its_child_until_they_are_gone(start):
    tree = start(SPAWN_SLEEPER + "time.sleep(600)")
    grandchild = int(line_of(tree.stdout))
    assert procfs.tree_pids(tree.pid) == [tree.pid, grandchild]
    until(lambda: procfs.look([grandchild]).resident_bytes > 1 << 20)
    both, one = procfs.look([tree.pid, grandchild]), procfs.look([tree.pid])
    assert set(both.high_water_bytes) == {tree.pid, grandchild}
    assert both.resident_bytes > one.resident_bytes > 1 << 20
    assert one.resident_bytes == one.anon_bytes + one.file_bytes
    tree.kill()
    assert procfs.tree_pids(tree.pid) == []
    assert procfs.look([tree.pid]) is None


@linux_only
def test_procfs_counts_a_zombie_as_nothing():
    with subprocess.Popen([sys.executable, "-I", "-c", ""]) as child:
        until(lambda: not runs(child.pid))
        assert procfs.look([child.pid]) is None


def test_a_sampler_keeps_the_highest_values_and_stops():
    samples = [
        Sample(10, 3, None, {1: 7}),
        None,
        Sample(5, 4, 6, {1: 2, 2: 9}),
        Sample(1, 1, 1, {}),
    ]
    looks = []

    def look():
        looks.append(1)
        return samples[min(len(looks), len(samples)) - 1]

    sampler = Sampler(look, 0.001)
    until(lambda: len(looks) >= len(samples))
    sampler.close()
    assert "memory sampler" not in [thread.name for thread in threading.enumerate()]
    peaks = sampler.peaks()
    assert (peaks.resident_bytes, peaks.anon_bytes, peaks.file_bytes) == (10, 4, 6)
    assert (len(peaks.pids), peaks.process_high_water_bytes) == (2, 9)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_sum_over_forks_does_not_call_itself_a_lower_bound(start):
    """They share what it counts for each; one process alone may only have been larger."""
    tree = start(
        "import os, sys, time\nblock = bytearray(b'x') * (50 << 20)\n"
        "print('one', flush=True); sys.stdin.readline()\n"
        "for _ in range(3):\n    if os.fork() == 0: time.sleep(600)\n"
        "print('four', flush=True); time.sleep(600)\n"
    )
    assert line_of(tree.stdout) == "one"
    peaks = Peaks()
    peaks.raise_to(psutil_trees.look(tree.pid))
    assert psutil_trees.bound_of_sum(peaks) == "lower"
    tree.write(memoryview(b"\n"), time.monotonic() + LIMIT_S)
    assert line_of(tree.stdout) == "four"
    peaks.raise_to(psutil_trees.look(tree.pid))
    assert peaks.resident_bytes > 150 << 20
    assert psutil_trees.bound_of_sum(peaks) == "unknown"


def test_a_new_window_is_looked_at_however_short_it_is():
    sizes = iter(range(100, 0, -1))
    sampler = Sampler(lambda: Sample(next(sizes), None, None, {}), 600)
    for _ in range(10):
        sampler.begin_window()
        assert 0 < sampler.window_peaks().resident_bytes < sampler.peaks().resident_bytes
    sampler.close()


def test_memory_rises_by_what_a_child_allocates(cgroup_or_not, start):
    tree = start(ALLOCATE)
    assert line_of(tree.stdout) == "ready"
    before = tree.memory()
    tree.write(memoryview(b"\n"), time.monotonic() + LIMIT_S)
    assert line_of(tree.stdout) == "done"
    after = tree.memory()
    assert 90 << 20 < after.peak_bytes - before.peak_bytes < 110 << 20
    assert after.method
    tree.kill()
    assert tree.memory() is None or tree.memory().peak_bytes >= after.peak_bytes


def test_what_counts_memory_here_is_named(cgroup_or_not):
    assert (platforms.memory_counter() == "/proc") == (cgroup_or_not == "without a cgroup")


def test_kill_ends_a_grandchild_in_another_session(cgroup_or_not, start):
    tree = start(SPAWN_SLEEPER + "time.sleep(600)")
    grandchild = int(line_of(tree.stdout))
    assert runs(grandchild)
    tree.kill()
    until(lambda: not runs(grandchild))
    assert tree.wait(LIMIT_S) is not None
    tree.kill()  # harmless


def test_close_ends_a_grandchild_whose_parent_died_before(cgroup_or_not, start):
    tree = start(SPAWN_SLEEPER + "time.sleep(0.5); os._exit(3)")
    grandchild = int(line_of(tree.stdout))
    assert tree.wait(LIMIT_S) == 3
    tree.close()
    try:
        limit = time.monotonic() + 2
        while runs(grandchild) and time.monotonic() < limit:
            time.sleep(0.01)
        assert not runs(grandchild)
    finally:
        if runs(grandchild):
            os.kill(grandchild, signal.SIGTERM)


def test_a_write_to_a_child_that_never_reads_ends_at_its_deadline(start):
    tree = start("import time; time.sleep(600)")
    with pytest.raises(TimeoutError):
        tree.write(memoryview(bytes(4 << 20)), time.monotonic() + 0.2)


def test_a_large_write_arrives_whole_although_the_child_reads_slowly(start):
    source = "import sys, time; time.sleep(0.3); print(len(sys.stdin.buffer.read()), flush=True)"
    tree = start(source)
    tree.write(memoryview(bytes(3 << 20)), time.monotonic() + LIMIT_S)
    tree.close_stdin()
    assert line_of(tree.stdout) == str(3 << 20)


def test_a_write_to_a_dead_child_is_an_os_error(start):
    tree = start("")
    assert tree.wait(LIMIT_S) == 0
    with pytest.raises(OSError) as caught:
        tree.write(memoryview(bytes(4 << 20)), time.monotonic() + LIMIT_S)
    assert not isinstance(caught.value, TimeoutError)


@linux_only
def test_twenty_trees_leave_no_file_descriptor_thread_or_cgroup(cgroup_or_not, start, tmp_path):
    def held():
        places = [folder for _, folder in cgroups._candidates(Path("/proc/self"))]
        left = [made for place in places for made in place.glob(f"asrbench-*-{os.getpid()}-*")]
        return len(os.listdir("/proc/self/fd")), threading.active_count(), left  # noqa: PTH208

    start("").close()
    before = held()
    for _ in range(20):
        start("import time; time.sleep(600)").close()
    for _ in range(3):
        with pytest.raises(OSError, match="nothing here"):
            platforms.spawn([str(tmp_path / "nothing here")], {}, tmp_path)
    assert held() == before
    assert before[2] == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with status 0"),
        (7, "exited with status 7"),
        (0xC00001A5, "ended with 0xc00001a5"),
        (-1000, "killed by signal 1000"),
    ],
)
def test_an_exit_status_is_said_in_words(status, words):
    assert describe_exit(status) == words


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM", "SIGUSR1"])
def test_a_signal_is_named(name):
    with subprocess.Popen([sys.executable, "-I", "-c", "import time; time.sleep(600)"]) as child:
        child.send_signal(getattr(signal, name))
        assert describe_exit(child.wait(LIMIT_S)).startswith(f"killed by {name}")


def test_latest_is_made_and_replaced(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "me").write_text(name, encoding="utf-8")
        platforms.point_latest(tmp_path / "latest", tmp_path / name)
        assert (tmp_path / "latest" / "me").read_text(encoding="utf-8") == name
    assert (tmp_path / "first" / "me").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest", "second"]


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_dead_reader_is_noticed_although_its_child_holds_the_pipe(start):
    tree = start("import os, time\nif os.fork() == 0:\n    time.sleep(600)\nos._exit(3)")
    assert tree.wait(LIMIT_S) == 3
    with pytest.raises(OSError) as raised:
        tree.write(memoryview(bytes(4 << 20)), time.monotonic() + LIMIT_S)
    assert not isinstance(raised.value, TimeoutError)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_short_helper_does_not_hide_the_peak_of_the_largest_process(start, monkeypatch):
    """A spike between two looks is in the kernel's own high-water mark."""
    monkeypatch.setattr(cgroups, "make_cgroup", lambda limit_bytes=None: None)
    tree = start(
        "import subprocess, sys, time\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(0.1)'])\n"
        "block = bytearray(b'x') * (200 << 20)\n"
        "del block\n"
        "print('done', flush=True)\n"
        "time.sleep(600)"
    )
    line_of(tree.stdout)
    assert tree.memory().peak_bytes > 200 << 20
