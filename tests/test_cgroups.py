"""Memory cgroups: found in every kind of tree, counting, limiting, killing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, made_cgroup, runs
from trees import ALLOCATE, LIMIT_S, line_of, until

if sys.platform != "linux":
    pytest.skip("cgroups are Linux only", allow_module_level=True)

from orchestrator import platforms
from orchestrator.platforms import cgroup_folder, cgroups, procfs

FORKING = """
import os, subprocess, sys, time
def sleeper():
    if os.fork() == 0:
        time.sleep(600)
sys.stdin.readline()
if os.fork() == 0:
    os.setsid()
    for _ in range(20):
        sleeper()
    print("go", flush=True)
    for _ in range(2000):
        sleeper()
        time.sleep(0.005)
time.sleep(600)
"""


V1 = "9:name=systemd:/\n4:cpu,memory:{path}\n0::/\n"
V2 = "0::{path}\n"
TREES = {  # name: (membership, mounts, delegating folders below the mount, expected candidates)
    "v1": (V1, "/user/x", [("cgroup", "/", "mem", "rw,cpu,memory")], [], ["mem/user/x"]),
    "v1 at its root": (V1, "/", [("cgroup", "/", "mem", "rw,memory")], [], ["mem"]),
    "v1 in a container": (
        V1, "/docker/0a1b", [("cgroup", "/docker/0a1b", "mem", "rw,memory")], [], ["mem"],
    ),
    "v1 deeper in a container": (
        V1, "/docker/0a1b/in", [("cgroup", "/docker/0a1b", "mem", "rw,memory")], [], ["mem/in"],
    ),
    "v2 in a scope of ours": (
        V2, "/user.slice/asrbench-7.scope/controller", [("cgroup2", "/", "uni", "rw,nsdelegate")],
        ["user.slice/asrbench-7.scope"], ["uni/user.slice/asrbench-7.scope"],
    ),
    "v2 beside a foreign session": (
        V2, "/user.slice/app.slice/term.scope", [("cgroup2", "/", "uni", "rw,nsdelegate")],
        ["user.slice/app.slice"], [],
    ),
    "v2 where our own delegates": (
        V2, "/job", [("cgroup2", "/", "uni", "rw")], ["job"], ["uni/job"],
    ),
    "v2 at its root": (V2, "/", [("cgroup2", "/", "uni", "rw")], [""], ["uni"]),
    "v2 that delegates nothing": (V2, "/system.slice/a", [("cgroup2", "/", "uni", "rw")], [], []),
    "hybrid": (
        V1, "/user/x",
        [("cgroup2", "/", "uni", "rw"), ("cgroup", "/", "cpu", "rw,cpu"),
         ("cgroup", "/", "mem", "rw,memory")], [], ["mem/user/x"],
    ),
    "none mounted": (V1, "/user/x", [("tmpfs", "/", "mem", "rw,memory")], [], []),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_candidates_are_found_in_every_kind_of_cgroup_tree(tmp_path, name):
    membership, path, mounts, delegating, expected = TREES[name]
    (tmp_path / "cgroup").write_text(membership.format(path=path), encoding="utf-8")
    lines = [
        f"{number} 23 0:{number} {root} {tmp_path}/{point} rw,relatime shared:9 - {kind} {kind} {options}\n"  # noqa: E501
        for number, (kind, root, point, options) in enumerate(mounts, 30)
    ]
    (tmp_path / "mountinfo").write_text("".join(lines), encoding="utf-8")
    for folder in delegating:
        (tmp_path / "uni" / folder).mkdir(parents=True)
        control = tmp_path / "uni" / folder / "cgroup.subtree_control"
        control.write_text("cpu memory pids\n", encoding="ascii")
    version = 2 if membership is V2 else 1
    found = cgroups._candidates(tmp_path)
    assert found == [(version, tmp_path / folder) for folder in expected]


def test_without_proc_there_is_no_candidate(tmp_path):
    assert cgroups._candidates(tmp_path) == []
    assert cgroups.make_cgroup(proc=tmp_path) is None


def test_a_folder_that_is_no_cgroup_is_left_as_it_was(tmp_path):
    (tmp_path / "cgroup").write_text("4:memory:/\n", encoding="utf-8")
    (tmp_path / "mem").mkdir()
    mount = f"35 31 0:32 / {tmp_path}/mem rw - cgroup cgroup rw,memory\n"
    (tmp_path / "mountinfo").write_text(mount, encoding="utf-8")
    assert cgroups.make_cgroup(proc=tmp_path) is None
    assert list((tmp_path / "mem").iterdir()) == []


def test_a_cgroup_counts_what_its_processes_allocate():
    cgroup = made_cgroup()
    with subprocess.Popen(
        [sys.executable, "-I", "-c", ALLOCATE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as child:
        cgroup.folder.write("cgroup.procs", str(child.pid))
        assert cgroup.folder.pids() == [child.pid]
        assert line_of(child.stdout) == "ready"
        before = cgroup.peak_bytes()
        child.stdin.write(b"\n")
        assert line_of(child.stdout) == "done"
        assert 95 << 20 < cgroup.peak_bytes() - before < 110 << 20
        sample = cgroup.look()
        assert sample.anon_bytes > 100 << 20
        assert sample.resident_bytes == sample.anon_bytes + sample.file_bytes
        cgroup.folder.kill()
        assert child.wait(LIMIT_S) == -signal.SIGKILL
    assert cgroup.folder.pids() == []
    cgroup.close()
    assert not cgroup.folder.path.exists()
    assert cgroup.look() is None


def test_a_cgroup_kills_a_tree_that_forks_on_and_has_left_its_session():
    cgroup = made_cgroup()
    with subprocess.Popen(
        [sys.executable, "-I", "-c", FORKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as child:
        cgroup.folder.write("cgroup.procs", str(child.pid))
        child.stdin.write(b"\n")
        assert line_of(child.stdout) == "go"
        pids = cgroup.folder.pids()
        assert len(pids) > 20
        cgroup.folder.kill()
        assert cgroup.folder.pids() == []
        until(lambda: not any(runs(pid) for pid in pids))
    cgroup.close()
    assert not cgroup.folder.path.exists()


def test_a_cgroup_of_version_2_counts_those_that_have_ended():
    """Every cgroup of version 2 counts CPU time, also where memory is on version 1."""
    places = [folder for version, folder in cgroups.own_folders("memory") if version == 2]
    made = [place / f"asrbench-test-{os.getpid()}" for place in places]
    try:
        for folder in made:
            folder.mkdir()
    except OSError:
        made = []
    if not made:
        pytest.skip("this user cannot make a cgroup of version 2 here")
    cgroup = cgroups.CgroupV2(made[0])
    try:
        assert cgroup.cpu_s() < 0.1
        enter = f"open({str(made[0] / 'cgroup.procs')!r}, 'w').write('0')"
        spin = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
        subprocess.run([sys.executable, "-I", "-c", f"{enter}\n{spin}"], check=True)
        assert cgroup.folder.pids() == []
        assert 0.3 < cgroup.cpu_s() < 2
    finally:
        cgroup.close()


@pytest.mark.parametrize("again", range(3))  # they may be slower than the kernel, once
def test_children_that_a_worker_makes_at_once_are_members_too(tmp_path, again):
    made_cgroup().close()
    command = ["sh", "-c", "sleep 600 & sleep 600 & sleep 600 & wait"]
    tree = platforms.spawn(command, dict(os.environ), tmp_path)
    try:
        until(lambda: len(procfs.tree_pids(tree.pid)) == 4)
        assert set(tree.pids()) == set(procfs.tree_pids(tree.pid))
    finally:
        tree.close()


def test_a_kill_is_sent_although_the_time_for_it_has_passed(monkeypatch):
    """As it has when the controller itself was stopped meanwhile."""
    monkeypatch.setattr(cgroup_folder, "EMPTYING_S", 0)
    made = made_cgroup()
    with subprocess.Popen(["sleep", "600"]) as process:
        made.folder.write("cgroup.procs", str(process.pid))
        made.folder.kill()
        try:
            assert process.wait(LIMIT_S) == -signal.SIGKILL
        finally:
            process.kill()
    until(lambda: made.close() or not made.folder.path.exists())


def test_a_cgroup_that_somebody_removes_costs_no_measurement(tmp_path):
    """As an administrator's tool may, or a controller in another container."""
    other = made_cgroup()
    command = [sys.executable, "-I", "-c", f"block = bytearray(b'x') * (50 << 20)\n{ALLOCATE}"]
    tree = platforms.spawn(command, dict(os.environ), tmp_path)
    try:
        assert line_of(tree.stdout) == "ready"
        removed = tree._cgroup.folder.path
        other.folder.write("cgroup.procs", str(tree.pid))
        removed.rmdir()
        peaks = [tree.memory()]
        tree.begin_memory_window()
        tree.write(memoryview(b"\n"), time.monotonic() + LIMIT_S)
        assert line_of(tree.stdout) == "done"
        peaks += [tree.memory_window(), tree.memory()]
        assert [peak.method for peak in peaks] == ["vmhwm"] * 3
        low, *high = [peak.peak_bytes >> 20 for peak in peaks]
        assert 50 < low < 100
        assert min(high) > 150
        assert tree.pids() == list(tree.cpu_s_by_pid()) == [tree.pid]
        assert tree.out_of_memory() is None
    finally:
        assert tree.close() is None
        other.close()
    assert not runs(tree.pid)


# burns process ids until one is free outside, where it would pass for a dead controller's
INSIDE = """
import os, sys, time
from pathlib import Path
from orchestrator import platforms
sleeps = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
tree = platforms.spawn(sleeps, dict(os.environ), Path("/"))
print(tree._cgroup.folder.path, flush=True)
sys.stdin.readline()
print(tree.wait(0.0), flush=True)
tree.close()
"""


def test_a_controller_in_another_pid_namespace_keeps_its_cgroup_and_its_worker(tmp_path):
    made_cgroup().close()
    (tmp_path / "inside.py").write_text(INSIDE, encoding="utf-8")
    unused = next(pid for pid in range(3, 30_000) if not Path(f"/proc/{pid}").exists())
    script = (
        f"echo {unused - 1} > /proc/sys/kernel/ns_last_pid && "
        f'"{sys.executable}" "{tmp_path / "inside.py"}"; exit $?'
    )
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    ) as inside:  # fmt: skip
        folder = Path(inside.stdout.readline().strip())
        if folder == Path():
            pytest.skip(f"no PID namespace of one's own here: {inside.stderr.read()}")
        assert f"-{unused}-" in folder.name
        cgroups._sweep.__wrapped__(folder.parent)
        assert folder.exists()
        said, _ = inside.communicate("\n", timeout=LIMIT_S)
    assert said == "None\n"
    assert not folder.exists()


def test_what_a_dead_controller_of_ones_own_left_is_swept():
    kept = made_cgroup()
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = kept.folder.path.with_name(
        kept.folder.path.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    )
    left.mkdir()
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        (left / "cgroup.procs").write_text(str(sleeper.pid), encoding="ascii")
        cgroups._sweep.__wrapped__(left.parent)
        assert sleeper.wait(LIMIT_S) == -signal.SIGKILL
    assert not left.exists()
    assert kept.folder.path.exists()
    kept.close()
