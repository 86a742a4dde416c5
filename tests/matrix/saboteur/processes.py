"""Faults of a process: it ends, raises, hangs, starts others, takes memory, harms the run."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .registry import FOREVER_S, TEXT, fault
from .wire import replies_pipe

CHILDREN = 200


def say(pid):
    """Name a process that must not outlive this one's tree."""
    sys.stderr.write(f"[process {pid}]\n")
    sys.stderr.flush()


# --- it ends -------------------------------------------------------------------------------


@fault
def segfault(scene):
    ctypes.string_at(0)


@fault
def litter(scene):
    """Dies with temporary files, and files in its working folder, that are to be deleted later."""
    for folder in (tempfile.mkdtemp(), "."):
        handle, _ = tempfile.mkstemp(dir=folder, suffix=".wav")
        os.write(handle, bytes(1 << 20))
    Path(folder, "closed").mkdir(mode=0)
    segfault(scene)


@fault
def abort(scene):
    os.abort()


@fault
def exit_0(scene):
    os._exit(0)


class Unsent(dict):
    """A result that ends the process when the host takes it to send it."""

    def keys(self):
        os._exit(0)

    __iter__ = keys


@fault
def exit_unsent(scene):
    return Unsent(text=TEXT, device="cpu")


def _signal_from_outside(name):
    """By another process, so that it meets us wherever we are."""
    subprocess.run(["/bin/sh", "-c", f"kill -{name} {os.getpid()}"], check=True)


@fault
def killed(scene):
    _signal_from_outside("KILL")
    time.sleep(FOREVER_S)


# --- it raises -----------------------------------------------------------------------------


@fault
def exception(scene):
    raise ValueError("the saboteur raised")


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@fault
def unprintable(scene):
    raise UnprintableError


@fault
def memory_error(scene):
    raise MemoryError("the saboteur has no memory")


@fault
def system_exit(scene):
    sys.exit(7)


# --- it hangs ------------------------------------------------------------------------------


@fault
def hang(scene):
    time.sleep(FOREVER_S)


@fault
def hang_with_gil(scene):
    scene.happened()
    ctypes.PyDLL(None).sleep(FOREVER_S)  # PyDLL does not let go of the GIL


@fault
def busy_loop(scene):
    scene.happened()
    while True:
        pass


@fault
def stopped(scene):
    scene.happened()
    _signal_from_outside("STOP")
    time.sleep(FOREVER_S)


@fault
def deaf(scene):
    """Heeds no signal that a process can refuse."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGABRT):
        ctypes.CDLL(None).signal(int(number), ctypes.c_void_p(1))  # SIG_IGN, from any thread
    time.sleep(FOREVER_S)


@fault
def stdout_flood(scene):
    scene.happened()
    while True:
        os.write(1, b"step 42 of 42\n" * 1_000)


@fault
def stderr_flood(scene):
    scene.happened()
    while True:
        os.write(2, b"warning: something\n" * 1_000)


# --- it starts others ----------------------------------------------------------------------


@fault
def pipe_holder(scene):
    """Dies, and leaves a process of another session that holds all pipes open."""
    for fd in {0, 1, 2, replies_pipe()}:
        os.set_inheritable(fd, True)
    child = subprocess.Popen(
        ["/bin/sleep", str(FOREVER_S)], close_fds=False, start_new_session=True
    )
    say(child.pid)
    os._exit(3)


def _daemon(environment):
    """Two forks and a session of its own: nobody's child."""
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.execve("/bin/sleep", ["sleep", str(FOREVER_S)], environment)
        say(pid)
        os._exit(0)
    os.wait()
    return TEXT


@fault
def daemon(scene):
    return _daemon(dict(os.environ))


@fault
def bare_daemon(scene):
    """And with nothing of ours in its environment."""
    return _daemon({})


@fault
def fork_bomb(scene):
    """200 children, each in a session of its own; then it dies."""
    for _ in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            time.sleep(FOREVER_S)
        say(pid)
    os._exit(3)


# --- it takes memory -----------------------------------------------------------------------

ALLOCATE = """
import time
blocks = []
for _ in range(60):
    blocks.append(bytearray(b"x") * (8 << 20))
time.sleep(600)
"""


@fault
def memory(scene):
    exec(ALLOCATE, {})


# whom the kernel ends is its choice: this makes it the child
CHILDS_CHOICE = """
with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
    file.write("1000")
"""


@fault
def childs_memory(scene):
    code = CHILDS_CHOICE + ALLOCATE
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", code])
    # whoever reads its /proc/PID/smaps, as asrbench does, keeps a dead child's memory for that
    # long, and a page for this process would cost its life too; after 2 s the kernel reaps
    time.sleep(3)
    subprocess.CompletedProcess(child.args, child.wait()).check_returncode()
    return TEXT


# --- what it does to the run ---------------------------------------------------------------


@fault
def delete_run(scene):
    for place in _places("delete"):
        shutil.rmtree(place)
    return TEXT


@fault
def fill_disk(scene):
    for place in _places("fill"):
        with Path(place, "filler").open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass
    return TEXT


def _places(name):
    try:
        return Path(os.environ["WHISPER_MATRIX"], name).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
