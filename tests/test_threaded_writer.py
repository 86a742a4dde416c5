"""Writing to real pipes that nobody reads, from a thread, as on Windows."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from trees import LIMIT_S

from orchestrator.platforms.threaded_writer import ThreadedWriter

BIG = memoryview(bytes(4 << 20))  # more than any pipe holds


@pytest.fixture
def reader():
    """Start a process of this source, with a writer to its stdin."""
    started = []

    def go(source):
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        writer = ThreadedWriter(process.stdin, lambda: process.poll() is not None)
        started.append((process, writer))
        return started[-1]

    yield go
    for process, writer in started:
        process.kill()
        process.wait()
        writer.close()
        assert writer.join(LIMIT_S)
        process.stdout.close()


def soon():
    return time.monotonic() + LIMIT_S


def test_all_arrives_in_order_although_it_is_read_slowly(reader):
    process, writer = reader(
        "import hashlib, sys, time; time.sleep(0.3)\n"
        "print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    )
    parts = [os.urandom(size) for size in (1, 3 << 20, 0, 70_000)]
    for part in parts:
        writer.write(memoryview(part), soon())
    writer.close()
    expected = hashlib.sha256(b"".join(parts)).hexdigest()
    assert process.stdout.read().decode().strip() == expected
    assert writer.join(LIMIT_S)
    assert process.stdin.closed


def test_a_write_that_nobody_reads_ends_at_its_deadline_and_close_does_not_wait(reader):
    process, writer = reader("import time; time.sleep(600)")
    with pytest.raises(TimeoutError):
        writer.write(BIG, time.monotonic() + 0.3)
    with pytest.raises(TimeoutError):  # waits behind the first
        writer.write(memoryview(b"more"), time.monotonic() + 0.1)
    writer.close()
    assert not writer.join(0.1)
    assert not process.stdin.closed  # the thread is still in its write
    process.kill()
    assert writer.join(LIMIT_S)
    assert process.stdin.closed


def test_a_write_to_a_dead_reader_is_an_error(reader):
    process, writer = reader("")
    process.wait(LIMIT_S)
    with pytest.raises(OSError) as caught:
        writer.write(BIG, soon())
    assert not isinstance(caught.value, TimeoutError)


def test_a_reader_that_dies_during_a_write_is_an_error(reader):
    _, writer = reader("import os, time; time.sleep(0.3); os._exit(3)")
    with pytest.raises(OSError) as caught:
        writer.write(BIG, soon())
    assert not isinstance(caught.value, TimeoutError)


@pytest.mark.skipif(sys.platform == "win32", reason="os.fork")
def test_a_dead_reader_is_noticed_although_its_child_holds_the_pipe(reader):
    process, writer = reader(
        "import os, time\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(600)\n"
        "print(child, flush=True); os._exit(3)"
    )
    child = int(process.stdout.readline())
    try:
        with pytest.raises(BrokenPipeError):
            writer.write(BIG, soon())
    finally:
        os.kill(child, 9)


INTERRUPTED = """
import _thread, signal, subprocess, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
sys.path.insert(0, sys.argv[1])
from orchestrator.platforms.threaded_writer import ThreadedWriter
process = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.PIPE, bufsize=0)
writer = ThreadedWriter(process.stdin, lambda: process.poll() is not None)
threading.Timer(0.5, _thread.interrupt_main).start()
try:
    writer.write(memoryview(bytes(4 << 20)), time.monotonic() + 10_000)
except KeyboardInterrupt:
    print("interrupted")
writer.close()
process.kill()
print("closed" if writer.join(60) else "stuck")
"""


def test_ctrl_c_is_noticed_during_a_write():
    """interrupt_main() marks a signal as come and wakes nobody: what Ctrl-C is on Windows."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", INTERRUPTED, str(ROOT)],
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT_S,
    )
    assert done.stdout.split() == ["interrupted", "closed"], done.stderr
