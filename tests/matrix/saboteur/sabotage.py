"""Faults, really done: each function harms the process that calls it. Runs inside the env.

A fault gets a Scene: what the host should say next, and the pipe on which it would say it. It dies,
hangs, raises, or returns; what it returns is then the model's text. One that hangs says before that
it has happened.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time

from .wire import Scene, replies_pipe

TEXT = "hello world"
FOREVER_S = 600
CHILDREN = 200
FAULTS = {"none": lambda scene: TEXT}


def fault(function):
    FAULTS[function.__name__] = function
    return function


def do(name, scene):
    """Let it happen."""
    return FAULTS[name](scene)


def say(pid):
    """Name a process that must not outlive this one's tree."""
    sys.stderr.write(f"[process {pid}]\n")
    sys.stderr.flush()


# --- it ends -------------------------------------------------------------------------------


@fault
def segfault(scene):
    ctypes.string_at(0)


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


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@fault
def unprintable(scene):
    raise Unprintable


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


@fault
def childs_memory(scene):
    subprocess.run([sys.executable, "-I", "-S", "-c", ALLOCATE], check=True)
    return TEXT


# --- what it returns -----------------------------------------------------------------------


@fault
def number(scene):
    return 42


@fault
def long_text(scene):
    return "x" * (50 << 20)


@fault
def surrogate(scene):
    return "half a pair: \ud800"


@fault
def nan_detail(scene):
    return {"text": TEXT, "confidence": float("nan")}


# --- what it puts on the pipe --------------------------------------------------------------


@fault
def noise(scene):
    scene.write(b"Loading checkpoint shards: 100%\n")
    return TEXT


@fault
def half_frame_death(scene):
    scene.write(scene.frame()[:-5])
    os._exit(3)


@fault
def half_frame_silence(scene):
    scene.write(scene.frame()[:-5])
    scene.happened()
    time.sleep(FOREVER_S)


def _writes(name, make):
    def write_and_hang(scene):
        scene.write(make(scene))
        scene.happened()
        time.sleep(FOREVER_S)

    FAULTS[name] = write_and_hang


_writes("huge_length", lambda scene: scene.prefix(0xFFFFFFFF, 0))
_writes("wrong_crc", lambda scene: scene.frame()[:-1] + b"?")
_writes("no_map", lambda scene: scene.packed(b"\x93\x01\x02\x03"))
_writes("wrong_kind", lambda scene: scene.frame(kind="strange"))
_writes("request_kind", lambda scene: scene.frame(kind="audio"))
_writes("extra_field", lambda scene: scene.frame(extra=1))
_writes("missing_field", lambda scene: scene.frame(without="kind"))
_writes("wrong_snippet", lambda scene: scene.frame(snippet="another"))
_writes("fewer_samples", lambda scene: scene.frame(samples=7))
_writes("twice", lambda scene: scene.frame() + scene.frame())
_writes("invalid_utf8", lambda scene: scene.packed(scene.header().replace(b"kind", b"k\xff\xfed")))
_writes("nan", lambda scene: scene.frame(**{scene.a_number: float("nan")}))
_writes("huge_frame", lambda scene: scene.frame(text="x" * (50 << 20)))


@fault
def partials(scene):
    while True:
        scene.write(Scene("partial", snippet=scene.fields["snippet"], text="and so on").frame())


# --- what it does to the run ---------------------------------------------------------------


@fault
def delete_run(scene):
    for place in _places("delete"):
        shutil.rmtree(place)
    return TEXT


@fault
def fill_disk(scene):
    for place in _places("fill"):
        with open(os.path.join(place, "filler"), "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass
    return TEXT


def _places(name):
    try:
        with open(os.path.join(os.environ["WHISPER_MATRIX"], name), encoding="utf-8") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []
