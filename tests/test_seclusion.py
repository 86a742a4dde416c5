"""A worker without a network can still do, and have done to it, all that it needs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the network is closed on Linux only", allow_module_level=True)
import resource

from orchestrator import paths
from orchestrator.platforms import venv_python, worker_network
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.worker import Worker

LIMIT_S = 60
NOBODY = 65534
linux = pytest.mark.skipif(sys.platform != "linux", reason="the network is closed on Linux only")

SOURCE = paths.SECLUSION.read_text(encoding="utf-8") if sys.platform == "linux" else ""
TALKS = """
import json, socket
def load(checkpoint, device, port):
    return port
def describe(port):
    return {"outside": attempt(("127.0.0.1", port)), "address": attempt(("192.0.2.1", 80)),
            "name": attempt(("example.org", 80)), "inside": inside()}
def attempt(address):
    try:
        socket.create_connection(address, 10).close()
        return "connected"
    except OSError as error:
        return type(error).__name__
def inside():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return attempt(server.getsockname())
def transcribe(model, audio):
    return ""
"""


@pytest.fixture
def talk(puppet_env, tmp_path):
    """What a worker reached when its network was what it is, or what it is told."""
    (tmp_path / "worker.py").write_text(TALKS, encoding="utf-8")
    with contextlib.ExitStack() as opened:

        def go(python=None):
            server = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            options = {"port": server.getsockname()[1]}
            program = python or venv_python(puppet_env)
            file = str(tmp_path / "worker.py")
            spec = WorkerSpec(program, puppet_env, file, options, {}, None, "cpu")
            worker = Worker(spec, tmp_path / "log.txt")
            opened.callback(worker.close)
            worker.load(LIMIT_S)
            return worker

        yield go


@linux
def test_a_worker_reaches_nobody_but_itself(talk, puppet_env):
    network = worker_network(venv_python(puppet_env))
    if network != "none":
        pytest.skip(f"this system keeps the network {network}")
    worker = talk()
    assert worker.network == worker.trace(LIMIT_S).network == "none"
    assert worker.load_details["outside"] == "ConnectionRefusedError"
    assert worker.load_details["address"] == "OSError"  # unreachable, at once
    assert worker.load_details["name"] == "gaierror"
    assert worker.load_details["inside"] == "connected"


@linux
def test_where_only_half_of_it_is_allowed_a_worker_keeps_its_network_and_says_so(
    talk, puppet_env, tmp_path
):
    """Root without capabilities may make a user namespace, but not map itself into it."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can give its capabilities up with setpriv")
    program = tmp_path / "python"
    python = venv_python(puppet_env)
    drop = "setpriv --bounding-set=-all --inh-caps=-all"
    program.write_text(f'#!/bin/sh\nexec {drop} "{python}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    worker = talk(program)
    assert worker.network.startswith("open: ")
    assert "Operation not permitted" in worker.network
    assert worker.load_details["outside"] == "connected"


@pytest.fixture
def ordinary():
    """Run a script as a user who is not root; groups: further ones, for which root is needed."""

    def run(script, *arguments, groups=()):
        user, python = {}, sys.executable
        if os.geteuid() == 0:
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": [NOBODY, *groups]}
            python = shutil.which("python3", path="/usr/bin") or pytest.skip(
                "there is no interpreter that other users may run"
            )
        elif groups:
            pytest.skip("only root can run something with another group")
        command = [python, "-I", "-c", SOURCE.replace("__main__", "elsewhere") + script]
        done = subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd="/",
            **user,
        )  # fmt: skip
        if done.returncode == 77:
            pytest.skip(f"this system refuses: {done.stdout}")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


# A parent that measures and kills as the controller does, and a child as the host is.
CHILD = """
import ctypes, os, sys, time
writing, ids, network = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if network != "none":
    os.write(writing, network.encode())
    os._exit(1)
libc = ctypes.CDLL(None)
libc.prctl(1, 9)
death = ctypes.c_int()
libc.prctl(2, ctypes.byref(death))  # PR_GET_PDEATHSIG
assert repr((os.getresuid(), os.getresgid())) == ids
file = open("/tmp/asrbench-secluded-%d" % os.getpid(), "w")  # its ids are mapped
os.unlink(file.name)
os.write(writing, b"ready %d" % death.value)
time.sleep(600)
"""
PARENT = """
import json, pathlib, signal
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.set_inheritable(writing, True)
    ids = repr((os.getresuid(), os.getresgid()))
    main([sys.executable, "-I", "-c", sys.argv[1], str(writing), ids, "none"])
said = os.read(reading, 1000).decode()
if not said.startswith("ready"):
    print(said)
    sys.exit(77)
proc = pathlib.Path("/proc/%d" % child)
(proc / "clear_refs").write_bytes(b"5")
found = {
    "death_signal": int(said.split()[1]),
    "environ": (proc / "environ").read_bytes() == pathlib.Path("/proc/self/environ").read_bytes(),
    "memory": "VmHWM" in (proc / "status").read_text(),
    "proportional": "Pss:" in (proc / "smaps_rollup").read_text(),
    "devices": sorted(os.listdir(proc / "fdinfo")) != [],
    "user_namespace": os.readlink(proc / "ns/user") != os.readlink("/proc/self/ns/user"),
    "network_namespace": os.readlink(proc / "ns/net") != os.readlink("/proc/self/ns/net"),
}
os.kill(child, signal.SIGKILL)
found["killed_by"] = os.WTERMSIG(os.waitpid(child, 0)[1])
print(json.dumps(found))
"""


@linux
def test_an_ordinary_users_worker_can_be_measured_and_killed(ordinary):
    found = ordinary(PARENT, CHILD)
    assert (found.pop("death_signal"), found.pop("killed_by")) == (9, 9)
    assert set(found.values()) == {True}, found


READS = """
import json
def readable():
    try:
        return open(sys.argv[1]).read()
    except OSError as error:
        return error.strerror
before = readable()
try:
    seclude()
except OSError as error:
    print(error)
    sys.exit(77)
print(json.dumps([before, readable()]))
"""


@linux
@pytest.mark.parametrize("member", [True, False])
def test_a_supplementary_group_opens_what_it_opened_before(ordinary, member):
    """As the groups video and render open a GPU's device nodes."""
    group = 54_321
    if os.geteuid():
        pytest.skip("only root can make another group's file")
    with tempfile.NamedTemporaryFile("w", dir="/tmp") as file:
        file.write("content")
        file.flush()
        os.chown(file.name, 0, group)
        Path(file.name).chmod(0o040)
        found = ordinary(READS, file.name, groups=[group] if member else [])
    assert found == ["content" if member else "Permission denied"] * 2


LIMITS = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.fixture
def cores_allowed():
    """As where people debug."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield before[1]
    resource.setrlimit(resource.RLIMIT_CORE, before)


def test_a_crash_leaves_no_core(cores_allowed, start, tmp_path):
    process = subprocess.Popen([sys.executable, "-I", "-c", CRASH], cwd=tmp_path)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -os.WTERMSIG(status)
    found = list(tmp_path.iterdir())
    if not os.WCOREDUMP(status) or not found:
        pytest.skip("this system makes no core files anyway, or somewhere else")
    for file in found:
        file.unlink()
    assert start(CRASH).wait(LIMIT_S) == -11
    assert list(tmp_path.iterdir()) == []


@linux
def test_a_core_is_not_piped_to_a_program_either(cores_allowed, start):
    """The kernel takes a limit of 1, and no other, for a no to that."""
    if cores_allowed == 0:
        pytest.skip("whoever started this test has forbidden cores for good")
    tree = start(LIMITS)
    said = bytearray(100)
    count = tree.stdout.readinto(memoryview(said))
    assert said[:count].decode().split() == ["(1,", f"{cores_allowed})"]
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == cores_allowed
