"""Hosts that break the rules: scripts that are really run, and what they all need."""

from __future__ import annotations

import time

import pytest
from conftest import ROOT

from orchestrator.supervisor.channel import WorkerFault

LIMIT_S = 60


PRELUDE = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from dataclasses import asdict
from schemas import framing, messages as m
if sys.platform == "win32":
    import msvcrt
    msvcrt.setmode(0, os.O_BINARY)
    msvcrt.setmode(1, os.O_BINARY)
stdin = os.fdopen(0, "rb", buffering=0)
def raw(data):
    while data:
        data = data[os.write(1, data):]
def frame(reply, **more):
    return framing.encode_frame(asdict(reply) | more)
def send(reply, **more):
    raw(frame(reply, **more))
def read():
    return framing.read_frame(stdin)
def hello():
    send(m.Hello(m.PROTOCOL, os.getpid(), "3", sys.prefix, [], "open"))
def text(snippet="a", samples=4, **more):
    send(m.Transcript(snippet, "hello", samples, 0.1), **more)
def start():
    hello(); read(); send(m.Imported(0.1, False)); read(); send(m.Loaded("cpu", 0.1))
def hear():
    read(); read()
"""


def soon(seconds=LIMIT_S):
    return time.monotonic() + seconds


def fault_of(call, *arguments):
    with pytest.raises(WorkerFault) as caught:
        call(*arguments)
    return caught.value
