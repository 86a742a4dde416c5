"""A worker that comes to harm when and how it is told to.

at load, at shutdown    the model's options say which fault
at transcribe, at idle  the audio does: its first sample × 1000 is the index into FAULTS, the second
                        is over 0.5 for idle
"""

import atexit
import os
import sys
import threading
from pathlib import Path

from . import sabotage
from .wire import Scene

IDLE_S = 0.1  # by then the reply is on its way


class Model:
    def __init__(self, details):
        self.details = details


def load(checkpoint, device, at="", fault="none"):
    details = {}
    if at == "load":
        scene = Scene("loaded", a_number="load_s", device=device, load_s=0.1, details={})
        details = sabotage.do(fault, scene)
    if at == "shutdown":
        atexit.register(sabotage.do, fault, Scene("partial", snippet="a", text="b"))
    return Model(details)


def describe(model):
    return model.details if isinstance(model.details, dict) else {}


def transcribe(model, audio):
    fault = list(sabotage.FAULTS)[round(float(audio[0]) * 1000)]
    scene = Scene(
        "transcript",
        a_number="infer_s",
        snippet=sys._getframe(1).f_locals["request"].snippet,  # the host's
        text=sabotage.TEXT,
        samples=len(audio),
        infer_s=0.1,
        details={},
    )
    if audio[1] > 0.5:
        _arm(fault, scene)
        return sabotage.TEXT
    return sabotage.do(fault, scene)


def _arm(fault, scene):
    """The controller does nothing until it has happened."""
    armed = Path(os.environ["WHISPER_MATRIX"], "armed")
    armed.write_text(str(os.getpid()), encoding="ascii")

    def disarm():
        armed.unlink(missing_ok=True)

    def happen():
        try:
            sabotage.do(fault, scene)
        finally:
            disarm()

    scene.happened = disarm
    threading.Timer(IDLE_S, happen).start()
