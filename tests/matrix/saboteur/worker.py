"""A worker that comes to harm when and how it is told to.

at load, at shutdown   the model's option says which fault
at transcribe, at idle the audio does: its first sample × 1000 is the index into FAULTS
"""

import atexit
import sys
import threading

from . import sabotage
from .wire import Scene

IDLE_S = 0.1  # by then the reply is on its way, and the controller is still at its slow disk


class Model:
    def __init__(self, at, details):
        self.at = at
        self.details = details


def load(checkpoint, device, at="transcribe", fault="none"):
    details = {}
    if at == "load":
        scene = Scene("loaded", a_number="load_s", device=device, load_s=0.1, details={})
        details = sabotage.do(fault, scene)
    if at == "shutdown":
        atexit.register(sabotage.do, fault, Scene("partial", snippet="a", text="b"))
    return Model(at, details)


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
    if model.at == "transcribe":
        return sabotage.do(fault, scene)
    if model.at == "idle" and fault != "none":
        threading.Timer(IDLE_S, sabotage.do, (fault, scene)).start()
    return sabotage.TEXT
