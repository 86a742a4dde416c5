"""Watching real process trees, for tests."""

from __future__ import annotations

import time

LIMIT_S = 60
ALLOCATE = """
import sys, time
print("ready", flush=True)
sys.stdin.readline()
block = bytearray(b"x" * 1) * (100 << 20)
print("done", flush=True)
time.sleep(600)
"""
STEPS = """
import mmap, os, subprocess, sys, time
N = 100 << 20
def step():
    print("ready", flush=True)
    sys.stdin.readline()
def touched(size):
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, size, 4096):
        block[at] = 1
    return block
def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid
"""


def until(condition):
    """Wait for what must come."""
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit, "waited for nothing"
        time.sleep(0.01)


def line_of(stream):
    found = bytearray()
    while not found.endswith(b"\n"):
        byte = bytearray(1)
        assert stream.readinto(memoryview(byte)), bytes(found)
        found += byte
    return found.decode().strip()
