"""Faults of what a worker answers: results that are none, and rubbish on the pipe itself."""

import os
import time

from .registry import FAULTS, FOREVER_S, TEXT, fault
from .wire import Scene

PIPE_TAKES = 4096  # bytes, without anyone who reads

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
        data = make(scene)
        scene.write(data[:PIPE_TAKES])
        scene.happened()  # not after the rest: nobody reads what is over the limit
        scene.write(data[PIPE_TAKES:])
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
