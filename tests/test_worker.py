"""A worker against hosts that answer another question than the one that was asked."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import STACKS, held, runs
from rogue_hosts import LIMIT_S, PRELUDE, fault_of
from trees import until

from orchestrator import paths
from orchestrator.errors import AudioError
from orchestrator.platforms import venv_python
from orchestrator.supervisor import worker as worker_room
from orchestrator.supervisor.log import LogPump
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.transcription import Recording
from orchestrator.supervisor.worker import Worker


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
    return worker.transcribe(Recording(snippet, iter(blocks), 4), timeout_s, lambda text: None)


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
    ("start(); hear(); send(m.Imported(0.1, False))", "sent 'imported' out of turn"),
    ("start(); hear(); send(m.Partial('b', 'x')); text()", "sent 'partial' out of turn"),
    ("start(); hear(); hello()", "sent 'hello' out of turn"),
]


HEARD = "start(); hear(); hear(); read(); "
TOO_EARLY = "start(); hear(); text('a')"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (HEARD + "text('b'); text('a')", "answered for 'b' with 4 samples; sent were 4 of 'a'"),
        (HEARD + "text('a'); text('b', samples=3)", "answered for 'b' with 3 samples"),
        (HEARD + "text('a'); send(m.Partial('b', 'x'))", "sent 'partial' out of turn"),
        (TOO_EARLY, "before it had all of the audio"),
    ],
)
def test_a_wrong_answer_to_a_batch_is_a_protocol_error(worker, script, words):
    def second():
        if script == TOO_EARLY:
            until(one._channel._events.qsize)
        yield np.zeros(4, np.float32)

    one = worker(script + "; time.sleep(600)")
    one.load(LIMIT_S)
    both = [Recording("a", iter([np.zeros(4, np.float32)]), 4), Recording("b", second(), 4)]
    fault = fault_of(one.transcribe_together, both, LIMIT_S)
    assert (fault.outcome, fault.alive) == ("protocol_error", False)
    assert words in fault.message


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
        (
            "hello(); read(); send(m.Imported(0.1, False)); send(m.Imported(0.1, False)); read()",
            "'imported'",
        ),
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


@pytest.mark.parametrize(
    ("kind", "method", "when"),
    [
        (subprocess.Popen, "_execute_child", lambda arguments: True),
        (threading.Thread, "start", lambda arguments: arguments[0].name == "memory sampler"),
    ],
    ids=["process", "thread"],
)
def test_ctrl_c_as_a_worker_begins_leaves_nothing_behind(
    puppet_env, tmp_path, ctrl_c_after, kind, method, when
):
    source = str(STACKS / "puppet" / "worker.py")
    spec = WorkerSpec(venv_python(puppet_env), puppet_env, source, {}, {}, None, "cpu")
    Worker(spec, tmp_path / "log.txt").close()  # the guardian stays
    before = held()
    with ctrl_c_after(kind, method, when):
        Worker(spec, tmp_path / "log.txt")
    assert held() == before


def test_ctrl_c_as_a_worker_ends_leaves_nothing_behind(puppet_env, tmp_path, ctrl_c_after):
    source = str(STACKS / "puppet" / "worker.py")
    spec = WorkerSpec(venv_python(puppet_env), puppet_env, source, {}, {}, None, "cpu")
    Worker(spec, tmp_path / "log.txt").close()  # the guardian stays
    before = held()
    one = Worker(spec, tmp_path / "log.txt")
    with ctrl_c_after(LogPump, "join"):
        one.close()
    assert held() == before


def test_ctrl_c_does_not_wait_for_a_workers_files_to_be_deleted(puppet_env, tmp_path, monkeypatch):
    source = str(STACKS / "puppet" / "worker.py")
    spec = WorkerSpec(venv_python(puppet_env), puppet_env, source, {}, {}, None, "cpu")
    one = Worker(spec, tmp_path / "log.txt")
    real, deleted = worker_room.remove_scratch, []

    def slow(folder):
        signal.raise_signal(signal.SIGINT)
        deleted.append(folder)

    monkeypatch.setattr(worker_room, "remove_scratch", slow)
    with pytest.raises(KeyboardInterrupt):
        one.close()
    assert deleted == []
    monkeypatch.setattr(worker_room, "remove_scratch", real)
    one.close()


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


def test_a_model_on_another_device_than_was_asked_for_fails_to_load(worker):
    one = worker(
        "hello(); read(); send(m.Imported(0.1, False)); read(); send(m.Loaded('cuda', 0.1)); read()"
    )
    fault = fault_of(one.load, LIMIT_S)
    assert (fault.outcome, fault.alive, one.phase) == ("failed", True, "load")
    assert "loaded on cuda, not on cpu" in fault.message


@pytest.mark.parametrize(
    ("script", "outcome"), [("", "crashed"), ("text('a'); read()", "protocol_error")]
)
def test_what_goes_wrong_after_the_last_answer_is_told(worker, script, outcome):
    one = worker(f"start(); hear(); text('a'); {script}")
    one.load(LIMIT_S)
    assert transcribe(one).text == "hello"
    until(lambda: not one._channel._events.empty())
    fault = one.end()
    assert (fault.outcome, one.phase) == (outcome, "transcribe")
