"""Memory of known size and known ways to die, for `asrbench selftest`. It hears nothing.

Sound has the act done; silence has the same done with nothing in it: the baseline. An act that
needs children starts this file by its path, with what each of them holds.
"""

import ctypes
import faulthandler
import mmap
import os
import subprocess
import sys
import time

SPIKE_S = 0.02
FORKS = 4
STEPS_TO_LIMIT = 50
OVER_LIMIT = 2
LINGER_S = 5.0


def load(checkpoint, device):
    return None


def describe(model):
    return {"device": "cpu"}


def transcribe(model, audio, act="anonymous", size_bytes=0, file=None, hold_s=0.0):
    """act: a function below. size_bytes: in all. file: as large as that, for acts that read it."""
    done = globals()["_" + act](size_bytes if audio.any() else 0, file, hold_s)
    return done or "done"


# --- footprints: what is held for hold_s ----------------------------------------------------


def _anonymous(size, file, hold_s):
    block = _anonymous_block(size)
    time.sleep(hold_s)
    del block


def _mapped(size, file, hold_s):
    mapping = _mapped_block(size, file)
    time.sleep(hold_s)
    del mapping


def _read(size, file, hold_s):
    block = _read_block(size, file)
    time.sleep(hold_s)
    del block


def _two_children(size, file, hold_s):
    _children([("anonymous", size // 2, ""), ("anonymous", size // 2, "")], hold_s)


def _spike(size, file, hold_s):
    _children([("anonymous", size, "")], SPIKE_S if size else hold_s)


def _beside(size, file, hold_s):
    _children([("mapped", size // 2, file), ("anonymous", size // 2, "")], hold_s)


def _forks(size, file, hold_s):
    block = _anonymous_block(size)
    forked = []
    for _ in range(FORKS):
        pid = os.fork()
        if pid == 0:
            sum(memoryview(block)[:: mmap.PAGESIZE])
            time.sleep(hold_s)
            os._exit(0)
        forked.append(pid)
    for pid in forked:
        os.waitpid(pid, 0)


def _anonymous_block(size, file=""):
    block = bytearray(size)
    pages = len(range(0, size, mmap.PAGESIZE))
    block[:: mmap.PAGESIZE] = b"x" * pages  # the system gives memory at the first touch
    return block


def _mapped_block(size, file):
    if not size:
        return None
    with open(file, "rb") as stream:
        mapping = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ)
    sum(memoryview(mapping)[:: mmap.PAGESIZE])
    return mapping


def _read_block(size, file):
    block = bytearray(size)
    view = memoryview(block)
    with open(file, "rb", buffering=0) as stream:
        while view:
            view = view[stream.readinto(view) :]
    return block


def _children(blocks, hold_s):
    """A child for each (kind, size, file); all hold theirs at once, then end."""
    command = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
    children = [
        subprocess.Popen(
            [*command, kind, str(size), file], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for kind, size, file in blocks
    ]
    ready = [child.stdout.readline() for child in children]
    time.sleep(hold_s)
    for child in children:
        child.communicate()
    if any(child.returncode for child in children) or not all(ready):
        raise RuntimeError(f"children ended with {[child.returncode for child in children]}")


# --- deaths ---------------------------------------------------------------------------------


def _segfault(size, file, hold_s):
    faulthandler._read_null()  # on Windows ctypes would make an exception of it


def _abort(size, file, hold_s):
    os.abort()


def _hang(size, file, hold_s):
    while True:
        time.sleep(60)


def _over_limit(size, file, hold_s):
    """Takes twice its size step by step, then lingers, for a limit that is kept by sampling."""
    blocks = [_anonymous_block(size // STEPS_TO_LIMIT) for _ in range(OVER_LIMIT * STEPS_TO_LIMIT)]
    time.sleep(LINGER_S)
    del blocks


def _noise(size, file, hold_s):
    sys.stdout.write("noise of Python\n")
    sys.stdout.flush()
    c_library = ctypes.CDLL("ucrtbase" if hasattr(ctypes, "windll") else None)  # Python's own
    c_library.puts(b"noise of C")
    c_library.fflush(None)
    subprocess.run([sys.executable, "-I", "-c", "print('noise of a child')"], check=True)


if __name__ == "__main__":
    held = globals()[f"_{sys.argv[1]}_block"](int(sys.argv[2]), sys.argv[3])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
