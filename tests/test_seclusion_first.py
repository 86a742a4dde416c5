"""The network is left before anything of an env has run, or stays and says why."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import venv

import pytest

if sys.platform != "linux":
    pytest.skip("the network is closed on Linux only", allow_module_level=True)

from orchestrator import paths
from orchestrator.platforms import venv_python, worker_network
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.worker import Worker

LIMIT_S = 60
# what a package may do with a .pth file: as Python starts, and later, from a thread of that moment
PHONES_HOME = """
import socket, threading
def call():
    try:
        socket.create_connection(("127.0.0.1", {port}), 5).close()
        return "connected"
    except OSError as error:
        return type(error).__name__
at_start, load = call(), threading.Event()
later = []
def wait():
    load.wait()
    later.append(call())
thread = threading.Thread(target=wait, daemon=True)
thread.start()
"""
WORKER = """
import phones_home
def load(checkpoint, device):
    phones_home.load.set()
    phones_home.thread.join()
def describe(model):
    return {"at_start": phones_home.at_start, "later": phones_home.later[0]}
def transcribe(model, audio):
    return ""
"""
SAYS = "import sys; print(sys.argv[1:])"
# as a container's filter of system calls, which lets nobody make a namespace
REFUSES = """
import ctypes, struct, sys
code = ctypes.create_string_buffer(
    struct.pack("HBBI", 0x20, 0, 0, 0)  # load the number of the call
    + struct.pack("HBBI", 0x15, 0, 1, int(sys.argv.pop(1)))  # is it unshare?
    + struct.pack("HBBI", 0x06, 0, 0, 0x50001)  # EPERM
    + struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)  # else: allowed
)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
if libc.prctl(22, 2, ctypes.byref(Program(4, ctypes.addressof(code)))):
    sys.exit(77)
"""
UNSHARE = {"x86_64": 272, "aarch64": 97}


def test_what_an_env_runs_when_python_starts_has_no_network(puppet_env, tmp_path):
    env = tmp_path / "env"
    venv.create(env, with_pip=False)
    network = worker_network(venv_python(env))
    if network != "none":
        pytest.skip(f"this system keeps the network {network}")
    site = next(env.glob("lib/python*/site-packages"))
    packages = next(puppet_env.glob("lib/python*/site-packages"))
    (tmp_path / "worker.py").write_text(WORKER, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        (site / "phones_home.py").write_text(PHONES_HOME.format(port=port), encoding="utf-8")
        (site / "phones.pth").write_text(f"{packages}\nimport phones_home\n", encoding="utf-8")
        file = str(tmp_path / "worker.py")
        spec = WorkerSpec(venv_python(env), env, file, {}, {}, None, "cpu")
        worker = Worker(spec, tmp_path / "log.txt")
        try:
            worker.load(LIMIT_S)
        finally:
            worker.close()
        with pytest.raises(BlockingIOError):
            server.accept()
    assert worker.network == "none"
    assert worker.load_details == {
        "at_start": "ConnectionRefusedError",
        "later": "ConnectionRefusedError",
    }


def become(*before):
    """Leave the network and become a program that says what it was told."""
    command = [sys.executable, "-I", "-c", SAYS, "a word", "none"]
    done = subprocess.run(
        [*before, *command], capture_output=True, encoding="utf-8", timeout=LIMIT_S
    )
    if done.returncode == 77:
        pytest.skip("this system has no filter of system calls")
    return done


def test_where_it_is_refused_after_all_the_network_stays_and_says_why(tmp_path):
    number = UNSHARE.get(platform.machine())
    if number is None:
        pytest.skip("the number of unshare(2) is not known on this processor")
    script = REFUSES + paths.SECLUSION.read_text(encoding="utf-8").partition("annotations")[2]
    done = become(sys.executable, "-I", "-S", "-c", script, str(number))
    assert done.stdout == "['a word', 'open: unshare: Operation not permitted']\n", done.stderr


def test_where_only_half_of_it_succeeds_it_ends_and_says_why():
    """Root without capabilities may make a user namespace, but not map itself into it."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can give its capabilities up with setpriv")
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = become(*drop, sys.executable, "-I", "-S", "-B", paths.SECLUSION)
    if "unshare" in done.stdout:
        pytest.skip("this system refuses the whole of it")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("/proc/self/")
    assert "Operation not permitted" in done.stderr
