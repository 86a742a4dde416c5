"""A worker that does what the first sample of the audio tells it to: really, not pretended.

Sample value × 100 is the index into BEHAVIOURS. Everything happens in a real process.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

BEHAVIOURS = [
    "silence", "say", "raise", "segfault", "exit", "sleep", "memory_error", "spin",
    "print", "number", "grandchild", "long", "generator", "dict", "nan", "flood", "sigkill",
    "allocate", "nurse",
    "not_first", "once", "spend", "leave",
]  # fmt: skip


HEARD = []


def load(checkpoint, device, on_load="nothing"):
    if on_load != "nothing":
        behave(on_load, None)
    return {"checkpoint": checkpoint}


def describe(model):
    return {"device": "cpu", "precision": "float32", "threads": 1}


def transcribe(model, audio):
    behaviour = BEHAVIOURS[round(float(audio[0]) * 100)]
    HEARD.append(behaviour)
    if behaviour == "generator":
        return (text for text in ("one", "one two", "one two three"))
    return behave(behaviour, audio)


def behave(behaviour, audio):
    return globals()["_" + behaviour](audio)


def _silence(audio):
    return ""


def _say(audio):
    return "hello world"


def _raise(audio):
    raise ValueError("the puppet was told to raise")


def _segfault(audio):
    ctypes.string_at(0)


def _exit(audio):
    os._exit(0)


def _sleep(audio):
    time.sleep(600)


def _spin(audio):
    while True:
        pass


def _sigkill(audio):
    os.kill(os.getpid(), signal.SIGKILL)


def _memory_error(audio):
    raise MemoryError("the puppet ran out of memory")


def _print(audio):
    """Prints of Python, C and a grandchild land in the log and not on the wire."""
    print("python speaks")
    ctypes.CDLL(None).puts(b"c speaks")
    subprocess.run([sys.executable, "-c", "print('a grandchild speaks')"], check=True)
    return "hello world"


def _number(audio):
    return 42


def _dict(audio):
    return {"text": "hello world", "beams": 5, "confidence": 0.5}


def _nan(audio):
    return {"text": "hello world", "confidence": float("nan")}


def _grandchild(audio):
    """Leaves a process behind that holds every pipe open and has left the session."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        close_fds=False,
        start_new_session=True,
    )
    sys.stderr.write(f"grandchild {child.pid}\n")
    sys.stderr.flush()
    os._exit(3)


def _nurse(audio):
    """Hangs with a child of its own, as a data loader would be."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    sys.stderr.write(f"child {child.pid}\n")
    sys.stderr.flush()
    time.sleep(600)


def _long(audio):
    return "word " * 1_000_000


def _not_first(audio):
    """Dies of what it kept from the snippets before."""
    if len(HEARD) > 1:
        os.abort()
    return "hello world"


def _once(audio):
    """Dies the first time under this controller, as a flaky driver might."""
    marker = Path(sys.prefix) / f"puppet-once-{os.getppid()}"
    if marker.exists():
        marker.unlink()
        return "hello world"
    marker.touch()
    os.abort()


def _flood(audio):
    for _ in range(20_000):
        sys.stderr.write("x" * 999 + "\n")
    return "hello world"


def _allocate(audio):
    block = bytearray(200 << 20)
    block[::4096] = b"x" * len(block[::4096])
    return str(len(block))


def _spend(audio):
    """Fails, and leaves nothing of what it allocated."""
    _allocate(audio)
    raise ValueError("the puppet was told to raise")


def _leave(audio):
    """Answers, and is gone soon afterwards."""
    threading.Timer(0.05, os._exit, [3]).start()
    return "hello world"
