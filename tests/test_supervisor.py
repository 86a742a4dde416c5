"""A channel and its worker, against hosts that break every rule: scripts that are really run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import ROOT, STACKS, runs

from orchestrator import paths
from orchestrator.errors import AudioError
from orchestrator.platforms import venv_python
from orchestrator.supervisor.channel import Channel, WorkerFault
from orchestrator.supervisor.environment import worker_environment
from orchestrator.supervisor.log import MAX_FILE_BYTES, TAIL_LINES, LogPump
from orchestrator.supervisor.worker import Worker, WorkerSpec
from schemas import messages

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
    hello(); read(); send(m.Imported(0.1)); read(); send(m.Loaded("cpu", 0.1))
def hear():
    read(); read()
"""


def soon(seconds=LIMIT_S):
    return time.monotonic() + seconds


@pytest.fixture
def channel(tmp_path):
    """Open a channel to a script."""
    opened = []

    def go(script):
        command = [sys.executable, "-c", PRELUDE + script]
        opened.append(
            Channel(command, worker_environment(tmp_path), tmp_path, tmp_path / "log.txt")
        )
        return opened[-1]

    yield go
    for one in opened:
        one.close()


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker whose host is a script."""
    opened = []

    def go(script):
        host = tmp_path / "host.py"
        host.write_text(PRELUDE + script, encoding="utf-8")
        monkeypatch.setattr(paths, "HOST", host)
        spec = WorkerSpec(Path(sys.executable), Path(sys.prefix), "worker", {}, {}, None, "cpu")
        opened.append(Worker(spec, tmp_path / "log.txt"))
        return opened[-1]

    yield go
    for one in opened:
        one.close()


def transcribe(worker, snippet="a", blocks=None, timeout_s=LIMIT_S):
    blocks = [np.zeros(4, np.float32)] if blocks is None else blocks
    return worker.transcribe(snippet, iter(blocks), 4, timeout_s, lambda text: None)


def fault_of(call, *arguments):
    with pytest.raises(WorkerFault) as caught:
        call(*arguments)
    return caught.value


BROKEN = [
    # what the host does instead of its hello, outcome, words
    ("raw(frame(m.Imported(0.1))[:9]); os._exit(3)", "crashed", "exited with status 3"),
    ("raw(frame(m.Imported(0.1))[:-1]); os._exit(0)", "crashed", "exited with status 0"),
    ("sys.exit('no library')", "crashed", "no library"),
    ("send(m.Imported(0.1), extra=1)", "protocol_error", "imported.extra"),
    ("send(m.Imported(0.1), kind='strange')", "protocol_error", "strange"),
    ("send(m.Load(None, 'cpu'))", "protocol_error", "'load'"),
    ("raw(framing.encode_frame({}))", "protocol_error", "kind"),
    ("raw(framing.encode_frame(asdict(m.Imported(0.1)), b'xyz') + b'xyz'); time.sleep(600)",
     "protocol_error", "a blob of 3 bytes"),
    ("send(m.Imported(float('nan')))", "protocol_error", "imported.import_s"),
    ("print('Loading model, please wait', flush=True); time.sleep(600)", "protocol_error",
     "expected a frame"),
    ("raw(frame(m.Imported(0.1))[:-1] + b'?'); time.sleep(600)", "protocol_error", "CRC"),
    ("os.close(1); time.sleep(600)", "protocol_error", "closed its output, but lives on"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "outcome", "words"), BROKEN)
def test_a_channel_turns_what_is_no_reply_into_a_fault(channel, script, outcome, words):
    opened = channel(script)
    fault = fault_of(opened.receive, soon())
    assert fault.outcome == outcome
    assert words in fault.message
    assert not fault.alive


@pytest.mark.parametrize("script", ["raw(frame(m.Imported(0.1))[:9]);", ""])
def test_half_a_frame_or_nothing_and_then_silence_ends_at_the_deadline(channel, script):
    opened = channel(script + "print('waiting', file=sys.stderr, flush=True); time.sleep(600)")
    while not opened.log_tail(1):
        time.sleep(0.01)
    fault = fault_of(opened.receive, soon(0.3))
    assert (fault.outcome, fault.alive) == ("timed_out", False)
    assert "waiting" in fault.message  # what it printed last
    pid = opened.tree.pid
    opened.close()
    assert not runs(pid)


def test_a_reply_before_a_death_is_still_received(channel):
    opened = channel("send(m.Imported(0.5)); os._exit(0)")
    assert opened.tree.wait(LIMIT_S) == 0
    assert opened.receive(soon()).reply == messages.Imported(0.5)
    fault = fault_of(opened.receive, soon())
    assert (fault.outcome, fault.message) == ("crashed", "worker exited with status 0")


ORPHAN = """
send(m.Imported(0.5))
if pid := os.fork():
    print('orphan', pid, file=sys.stderr, flush=True)
    os._exit(3)
os.setsid()
{then}
"""
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="os.fork")


@posix_only
def test_the_last_words_of_a_dead_worker_arrive_although_an_orphan_holds_its_pipes(channel):
    opened = channel(ORPHAN.format(then="time.sleep(600)"))
    assert opened.receive(soon()).reply == messages.Imported(0.5)
    fault = fault_of(opened.receive, soon())
    assert fault.message.startswith("worker exited with status 3\norphan ")
    assert not runs(int(fault.message.split()[-1]))  # already, and not only at close()


@posix_only
def test_a_death_is_told_although_an_orphan_prints_for_ever(channel):
    opened = channel(ORPHAN.format(then="while True: os.write(2, b'x' * 99 + b'\\n')"))
    assert opened.receive(soon()).reply == messages.Imported(0.5)
    fault = fault_of(opened.receive, soon())
    assert fault.message.startswith("worker exited with status 3")


@posix_only
def test_an_orphan_cannot_answer_for_a_dead_worker(channel):
    opened = channel(ORPHAN.format(then="while True: send(m.Imported(0.5)); time.sleep(0.01)"))
    with pytest.raises(WorkerFault, match="exited with status 3"):
        for _ in range(1_000):
            opened.receive(soon())


def test_a_request_to_a_dead_worker_tells_how_it_died(channel):
    opened = channel("os._exit(9)")
    assert opened.tree.wait(LIMIT_S) == 9
    fault = fault_of(opened.send, messages.Audio("a", True), soon(), bytes(1 << 20))
    assert (fault.outcome, fault.message) == ("crashed", "worker exited with status 9")


def test_a_request_that_nobody_reads_ends_at_its_deadline(channel):
    opened = channel("time.sleep(600)")
    fault = fault_of(opened.send, messages.Audio("a", True), soon(0.3), bytes(1 << 20))
    assert fault.outcome == "timed_out"


def test_a_worker_that_keeps_to_the_rules_is_heard(worker):
    one = worker("start(); hear(); text(); hear(); text('b'); read()")
    times = one.load(LIMIT_S)
    parts = (times.spawn_s, times.interpreter_s, times.imports_s, times.weights_s)
    assert all(part >= 0 for part in parts)
    assert sum(parts) == pytest.approx(times.total_s)
    assert (one.device, one.phase) == ("cpu", "transcribe")
    assert transcribe(one).text == "hello"
    assert transcribe(one, "b").text == "hello"


ROGUES = [
    ("start(); hear(); text('b')", "answered for 'b' with 4 samples; sent were 4 of 'a'"),
    ("start(); hear(); text(samples=3)", "answered for 'a' with 3 samples"),
    ("start(); hear(); text(extra=1)", "transcript.extra"),
    ("start(); hear(); send(m.Imported(0.1))", "sent 'imported' out of turn"),
    ("start(); hear(); send(m.Partial('b', 'x')); text()", "sent 'partial' out of turn"),
    ("start(); hear(); hello()", "sent 'hello' out of turn"),
]


@pytest.mark.parametrize(("script", "words"), ROGUES)
def test_an_answer_to_another_question_is_a_protocol_error(worker, script, words):
    one = worker(script + "; time.sleep(600)")
    one.load(LIMIT_S)
    fault = fault_of(transcribe, one)
    assert (fault.outcome, fault.alive) == ("protocol_error", False)
    assert words in fault.message


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("hello(); read(); send(m.Imported(0.1)); send(m.Imported(0.1)); read()", "'imported'"),
        ("send(m.Loaded('cpu', 0.1))", "'loaded' out of turn"),
        ("send(m.Hello(m.PROTOCOL + 1, 1, '3', sys.prefix, [], 'open'))", "speaks protocol"),
        (
            "send(m.Hello(m.PROTOCOL, 1, '3', '/usr/elsewhere', [], 'open'))",
            "runs in /usr/elsewhere",
        ),
    ],
)
def test_a_load_that_breaks_the_rules_is_a_protocol_error(worker, script, words):
    fault = fault_of(worker(script + "; time.sleep(600)").load, LIMIT_S)
    assert fault.outcome == "protocol_error"
    assert words in fault.message


def test_a_reply_sent_twice_is_not_taken_for_the_next_snippet(worker):
    one = worker("start(); hear(); text(); text(); time.sleep(600)")
    one.load(LIMIT_S)
    assert transcribe(one, "a").text == "hello"
    while not one._channel._events.qsize():
        time.sleep(0.01)
    fault = fault_of(one.check_idle)
    assert fault.outcome == "protocol_error"
    # before or after the next question was put: that is chance
    assert "nobody asked for" in fault.message or "answered for 'a'" in fault.message


def test_an_answer_to_half_of_the_audio_is_not_taken(worker):
    one = worker("start(); read(); text(samples=8); time.sleep(600)")
    one.load(LIMIT_S)

    def blocks():
        yield np.zeros(4, np.float32)
        while not one._channel._events.qsize():
            time.sleep(0.01)
        yield np.zeros(4, np.float32)

    fault = fault_of(transcribe, one, "a", blocks())
    assert fault.outcome == "protocol_error"
    assert "before it had all of the audio" in fault.message


def test_a_clean_exit_after_a_reply_keeps_the_reply_and_is_a_crash_for_the_next(worker):
    one = worker("start(); hear(); text(); os._exit(0)")
    one.load(LIMIT_S)
    assert transcribe(one).text == "hello"
    fault = fault_of(transcribe, one, "b")
    assert (fault.outcome, fault.message) == ("crashed", "worker exited with status 0")


def test_a_failure_leaves_the_worker_alive_for_the_next_snippet(worker):
    one = worker("start(); hear(); send(m.Failure('OutOfMemoryError', 'x', '')); hear(); text()")
    one.load(LIMIT_S)
    fault = fault_of(transcribe, one)
    assert (fault.outcome, fault.alive) == ("out_of_memory", True)
    assert transcribe(one).text == "hello"


def test_a_broken_recording_is_cancelled_in_so_many_words(worker):
    refuse = "if read()[0] != {'snippet': 'a', 'kind': 'cancel'}: os._exit(5)"
    one = worker(f"start(); hear()\n{refuse}\nhear(); text('b')")
    one.load(LIMIT_S)

    def broken():
        yield np.zeros(4, np.float32)
        yield np.zeros(4, np.float32)
        raise AudioError("ends early")

    with pytest.raises(AudioError, match="ends early"):
        transcribe(one, "a", broken())
    assert transcribe(one, "b").text == "hello"


def test_an_interpreter_that_is_not_there_is_a_fault(tmp_path):
    spec = WorkerSpec(tmp_path / "python", tmp_path, "worker", {}, {}, None, "cpu")
    fault = fault_of(Worker, spec, tmp_path / "log.txt")
    assert fault.outcome == "crashed"
    assert "cannot start" in fault.message


def test_a_log_that_cannot_be_opened_leaves_no_process_behind(tmp_path):
    threads, children = set(threading.enumerate()), set(psutil.Process().children())
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    log = tmp_path / "no such folder" / "log.txt"
    with pytest.raises(OSError, match="no such folder"):
        Channel(command, worker_environment(tmp_path), tmp_path, log)
    left = set(psutil.Process().children()) - children
    leaked = set(threading.enumerate()) - threads
    for thread in leaked:  # the sampler's knows the tree
        thread._target.__self__._look.__self__.close()
    assert (left, leaked) == (set(), set())


def test_a_broken_recording_is_forgotten_by_the_real_host(puppet_env, tmp_path):
    source = str(STACKS / "puppet" / "worker.py")
    spec = WorkerSpec(venv_python(puppet_env), puppet_env, source, {}, {}, None, "cpu")
    one = Worker(spec, tmp_path / "log.txt")

    def broken():
        yield np.full(8_000, 0.03, np.float32)  # would be a segfault
        yield np.full(8_000, 0.03, np.float32)
        raise AudioError("ends early")

    def good():
        for _ in range(3):
            yield np.full(8_000, 0.01, np.float32)

    try:
        one.prove([({}, {}), ({"on_load": "nothing"}, {})], LIMIT_S)
        one.close()
        one = Worker(spec, tmp_path / "log.txt")
        one.load(LIMIT_S)
        with pytest.raises(AudioError, match="ends early"):
            transcribe(one, "a", broken())
        assert transcribe(one, "b", good()).text == "hello world"
        assert one.memory().peak_bytes > 1 << 20
        pid = one._channel.tree.pid
        assert one.end() is None
    finally:
        one.close()
    assert not runs(pid)


@pytest.fixture
def pump(tmp_path):
    """Run bytes through a pipe into a log; the ended LogPump and its file."""

    def go(data):
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as stream:
            one = LogPump(stream, (tmp_path / "log.txt").open("ab", buffering=0))
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(data)
            assert one.join(LIMIT_S)
        return one, tmp_path / "log.txt"

    return go


def printed(file):
    """A log without the lines that are asrbench's own."""
    lines = file.read_bytes().splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"[asrbench: "))


def test_a_log_is_whole_in_its_file_and_short_in_its_tail(pump):
    data = "".join(f"line {number} ü\n\n" for number in range(5_000)).encode()
    one, file = pump(data)
    assert printed(file) == data
    wanted = [f"line {number} ü" for number in range(5_000 - TAIL_LINES, 5_000)]
    assert one.tail().splitlines() == wanted


def test_a_log_is_appended_to(pump, tmp_path):
    (tmp_path / "log.txt").write_bytes(b"before\n")
    assert printed(pump(b"after\n")[1]) == b"before\nafter\n"


def test_a_flood_is_drained_cut_once_and_still_has_its_tail(pump):
    one, file = pump(b"x" * 99 + b"\n" + b"y" * (MAX_FILE_BYTES + (4 << 20)) + b"\nlast words\n")
    assert MAX_FILE_BYTES < file.stat().st_size < MAX_FILE_BYTES + 200
    assert file.read_bytes().count(b"asrbench: this log is cut here") == 1
    assert one.tail().splitlines()[-1] == "last words"
    assert all(len(line) <= 500 for line in one.tail().splitlines())


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J end",
        bytes(range(256)) * 300 + b" end",
        "\u202eevil\u202c \u200b \x9b31m end".encode(),
        "€".encode() * 40_000 + b" end",  # a chunk may begin inside a letter
        b"10%\r20%\r30% end",
    ],
)
def test_a_tail_can_be_shown_on_a_terminal(pump, data):
    tail = pump(data)[0].tail()
    if len(data) < 1_000:
        assert tail.endswith("end")
    assert all(char.isprintable() or char in "\n\t" for char in tail)
    assert tail.encode("utf-8")


def test_nothing_printed_is_an_empty_tail(pump):
    assert pump(b"")[0].tail() == ""


DROPPED = (
    "PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV LD_LIBRARY_PATH LD_PRELOAD HF_TOKEN "
    "NVIDIA_API_KEY TORCH_SECRET_X GGML_PASSWORD GITHUB_TOKEN AWS_SECRET_ACCESS_KEY CONDA_PREFIX"
).split()


def test_a_worker_gets_what_it_is_tuned_with_and_no_paths_or_tokens(monkeypatch, tmp_path):
    for name in DROPPED:
        monkeypatch.setenv(name, "leak")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    code = "import os; print('\\n'.join(f'{k}={v}' for k, v in os.environ.items()))"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env=worker_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    seen = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert not set(DROPPED) & set(seen)
    assert "leak" not in seen.values()
    assert seen["PATH"] == os.environ["PATH"]
    assert (seen["OMP_NUM_THREADS"], seen["HF_HUB_OFFLINE"]) == ("3", "1")
