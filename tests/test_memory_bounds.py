"""No peak is called exact that may not be: trees made to deceive the counters, one by one."""

from __future__ import annotations

import os
import sys
import textwrap

import pytest
from conftest import made_cgroup
from trees import until

if sys.platform != "linux":
    pytest.skip("reads Linux's counters", allow_module_level=True)

from orchestrator.platforms import cgroups, linux_memory, linux_peaks, procfs
from schemas.records import MemoryPeak, peak_of_both

MIB = 1 << 20
N = 100 * MIB
WARM = """
def mapped(path):
    file = open(path, "rb")
    flags = mmap.MAP_PRIVATE | mmap.MAP_POPULATE
    return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=flags)
"""
READ_COLD = """
file = os.open(path, os.O_RDONLY)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
while os.read(file, 1 << 20): pass
"""
DROP = "time.sleep(1)\nos.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)"
BRIEF_CHILD = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def populate():
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, N // 2, flags=flags)
child(populate)
try: os.wait()
except ChildProcessError: pass
"""


@pytest.fixture
def weights(tmp_path):
    """A file on the disk, and in the page cache on our account."""
    file = tmp_path / "weights"
    with file.open("wb") as stream:
        stream.write(os.urandom(MIB) * 100)
        stream.flush()
        os.fsync(stream.fileno())
    return file


@pytest.fixture
def with_cgroup():
    made_cgroup().close()


@pytest.fixture
def as_if_larger(monkeypatch):
    """Ten times: then the libraries that processes map are next to nothing."""
    monkeypatch.setattr(linux_peaks, "NEGLIGIBLE", 0.2)


def window(tree, go_on):
    tree.begin_memory_window()
    go_on()
    return tree.memory_window()


def test_one_process_is_exact_in_every_phase(with_cgroup, stepped, weights):
    tree, go_on = stepped(
        f"{WARM}\nstep(); weights = mapped({str(weights)!r}); step()\n"
        "block = touched(N); step(); block.close(); step()\n"
    )
    for truth in (N, 2 * N, N):  # and the interpreter
        peak = window(tree, go_on)
        assert (peak.method, peak.bound) == ("vmhwm", "exact")
        assert truth < peak.peak_bytes < 2 * N + 20 * MIB
    assert (tree.memory().method, tree.memory().bound) == ("vmhwm", "exact")


def test_dropped_cache_does_not_hide_a_child_that_nobody_saw(with_cgroup, stepped, weights):
    """The highest page cache of the phase would explain all that the cgroup counted."""
    tree, go_on = stepped(
        f"path = {str(weights)!r}; step()\n{READ_COLD}\n{DROP}\n{BRIEF_CHILD}\nstep(); step()\n"
    )
    peak = window(tree, go_on)
    if (peak.cgroup_bytes or 0) < N:
        pytest.skip("the file was not read from a disk: is the temporary folder in memory?")
    assert peak.peak_bytes >= peak.cgroup_bytes
    assert peak.bound == "unknown"
    assert window(tree, go_on).bound == "exact"
    assert tree.memory().bound == "unknown"


def test_a_warm_file_that_is_mapped_for_a_moment_makes_a_lower_bound(
    with_cgroup, stepped, as_if_larger, weights
):
    tree, go_on = stepped(
        f"{WARM}\nstep(); child(lambda: (touched(2 * N), time.sleep(600))); time.sleep(1)\n"
        f"mapped({str(weights)!r}).close(); step()\n"
    )
    peak = window(tree, go_on)
    assert peak.peak_bytes < 3 * N
    assert peak.bound == "lower"


def test_shared_memory_does_not_hide_page_cache(with_cgroup, stepped, weights):
    """The kernel counts it among what is mapped, and among the cache."""
    tree, go_on = stepped(
        f"path = {str(weights)!r}; shared = mmap.mmap(-1, N)\nfor at in range(0, N, 4096): "
        f"shared[at] = 1\nstep()\n{READ_COLD}\ntime.sleep(1)\nstep()\n"
    )
    peak = window(tree, go_on)
    if (peak.cgroup_bytes or 0) < 2 * N:
        pytest.skip("the file was not read from a disk: is the temporary folder in memory?")
    assert (peak.method, peak.bound) != ("cgroup-v1", "exact")


def test_page_cache_that_is_gone_is_not_in_the_peak(with_cgroup, stepped, weights, monkeypatch):
    """Looks may have missed some of it: the kernel takes it back when it likes."""
    monkeypatch.setattr(linux_memory, "PERIOD_WITH_CGROUP_S", 60.0)
    tree, go_on = stepped(f"path = {str(weights)!r}; step()\n{READ_COLD}\n{DROP}\nstep()\n")
    peak = window(tree, go_on)
    if (peak.cgroup_bytes or 0) < N:
        pytest.skip("the file was not read from a disk: is the temporary folder in memory?")
    assert (peak.method, peak.bound) == ("vmhwm", "lower")
    assert peak.peak_bytes < N


def test_page_cache_that_is_gone_and_was_seen_leaves_a_peak_exact(with_cgroup, stepped, weights):
    once = textwrap.indent(f"{READ_COLD}\n{DROP}\nstep()\n", "    ")
    tree, go_on = stepped(f"path = {str(weights)!r}; step()\nfor _ in range(3):\n{once}")
    peaks = [window(tree, go_on) for _ in range(3)]
    assert all(peak.method == "vmhwm" and peak.peak_bytes < N for peak in peaks)
    assert "exact" in [peak.bound for peak in peaks]  # the kernel may have been faster once


def test_a_mapped_file_does_not_hide_a_file_in_memory(with_cgroup, stepped, weights):
    """The one is not charged, the other not mapped."""
    tree, go_on = stepped(
        f"{WARM}\nstep(); weights = mapped({str(weights)!r})\nmemory = os.memfd_create('cache')\n"
        f"for _ in range(60): os.write(memory, b'x' * {MIB})\n"
        "time.sleep(1); os.close(memory); weights.close(); step()\n"
    )
    assert window(tree, go_on).bound != "exact"


def test_page_cache_does_not_hide_a_file_in_memory(with_cgroup, stepped, weights):
    """It is mapped by nobody, and was there when the page cache was not."""
    tree, go_on = stepped(
        f"path = {str(weights)!r}; step()\n{READ_COLD}\n{DROP}\n"
        "memory = os.memfd_create('cache')\n"
        f"for _ in range(100): os.write(memory, b'x' * {MIB})\n"
        "time.sleep(1); os.close(memory); step()\n"
    )
    peak = window(tree, go_on)
    assert peak.bound != "exact" or peak.peak_bytes >= N
    if peak.cgroup_bytes is not None:
        assert peak.peak_bytes >= N


def test_a_child_that_ended_when_a_window_had_just_begun_is_in_it(with_cgroup, stepped, weights):
    """No look of the window sees it, and it has no page fault in it."""
    tree, go_on = stepped(
        "import signal\nbase = touched(6 * N)\nreading, writing = os.pipe()\nstep()\n"
        "pid = child(lambda: (touched(2 * N), os.write(writing, b'x'), time.sleep(600)))\n"
        "os.read(reading, 1); step(); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)\n"
        f"with open({str(weights.with_name('cache'))!r}, 'wb') as file:\n"
        f"    for _ in range(300): file.write(b'x' * {MIB})\nstep()\n"
    )
    go_on()
    assert window(tree, go_on).bound != "exact"


@pytest.mark.parametrize(("missing", "bound"), [(1, "exact"), (20, "lower")])
def test_a_fault_that_a_thread_is_just_having_is_no_other_process(
    with_cgroup, stepped, monkeypatch, missing, bound
):
    own = procfs.page_faults
    tree, go_on = stepped("step(); block = touched(N); step()\n")
    tree.begin_memory_window()
    monkeypatch.setattr(procfs, "page_faults", lambda pid: own(pid) - missing)
    go_on()
    assert tree.memory_window().bound == bound


def test_a_process_that_somebody_moved_out_of_its_cgroup_is_not_exact(with_cgroup, stepped):
    """What its children do out there, no page fault tells."""
    other = made_cgroup()
    tree, go_on = stepped("step()\npid = child(lambda: touched(N)); os.waitpid(pid, 0); step()\n")
    try:
        other.folder.write("cgroup.procs", str(tree.pid))
        assert window(tree, go_on).bound != "exact"
        assert tree.memory().bound != "exact"
    finally:
        tree.close()
        other.close()


def test_a_kill_at_the_limit_of_a_cgroup_above_makes_a_lower_bound(stepped, monkeypatch):
    container = made_cgroup()
    version = 2 if isinstance(container, cgroups.CgroupV2) else 1
    container.limit(60 * MIB)
    if version == 2:
        container.folder.write("memory.oom.group", "0")  # else our process would die as well
        container.folder.write("cgroup.subtree_control", "+memory")
    found = [(version, container.folder.path)]
    monkeypatch.setattr("orchestrator.platforms.cgroups._candidates", lambda _: found)
    try:
        tree, go_on = stepped("step(); pid = child(lambda: touched(N)); os.waitpid(pid, 0); step()")
        peak = window(tree, go_on)
        until(lambda: tree.out_of_memory() is not None)
        assert peak.bound == "lower"
        assert peak.peak_bytes < N
        tree.close()
    finally:
        container.close()


def test_several_processes_are_summed_where_the_kernel_starts_no_counter_anew(
    with_cgroup, stepped, as_if_larger, monkeypatch
):
    """Version 2 before Linux 6.12."""
    for kind in (cgroups.CgroupV1, cgroups.CgroupV2):
        monkeypatch.setattr(kind, "begin_window", lambda _: False)
    tree, go_on = stepped(
        "step()\nfor _ in range(3): child(lambda: (touched(N), time.sleep(600)))\nstep()\n"
    )
    window(tree, go_on)
    until(lambda: tree.memory_window().peak_bytes > 3 * N)
    peak = tree.memory_window()
    assert peak.peak_bytes < 3.5 * N
    assert peak.bound == "lower"


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (("exact", "exact"), "exact"),
        (("upper", "exact"), "exact"),
        (("lower", "exact"), "lower"),
        (("unknown", "exact"), "lower"),
        (("lower", "upper"), "unknown"),
        (("exact", "upper"), "upper"),
    ],
)
def test_a_lower_bound_in_one_phase_makes_one_of_the_whole(bounds, expected):
    low, high = (
        MemoryPeak(peak_bytes=size, method="vmhwm", bound=bound)
        for size, bound in zip((1, 2), bounds, strict=True)
    )
    for pair in ((low, high), (high, low)):
        found = peak_of_both(*pair)
        assert (found.peak_bytes, found.bound) == (2, expected)
    assert peak_of_both(None, low) == low
