"""A channel against hosts that break every rule: scripts that are really run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
from conftest import runs
from rogue_hosts import LIMIT_S, PRELUDE, fault_of, soon

from orchestrator.supervisor.channel import Channel, WorkerFault
from orchestrator.supervisor.environment import worker_environment
from schemas import messages


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


BROKEN = [
    # what the host does instead of its hello, outcome, words
    ("raw(frame(m.Imported(0.1, False))[:9]); os._exit(3)", "crashed", "exited with status 3"),
    ("raw(frame(m.Imported(0.1, False))[:-1]); os._exit(0)", "crashed", "exited with status 0"),
    ("sys.exit('no library')", "crashed", "no library"),
    ("send(m.Imported(0.1, False), extra=1)", "protocol_error", "imported.extra"),
    ("send(m.Imported(0.1, False), kind='strange')", "protocol_error", "strange"),
    ("send(m.Load(None, 'cpu'))", "protocol_error", "'load'"),
    ("raw(framing.encode_frame({}))", "protocol_error", "kind"),
    ("raw(framing.encode_frame(asdict(m.Imported(0.1, False)), b'xyz') + b'xyz'); time.sleep(600)",
     "protocol_error", "a blob of 3 bytes"),
    ("send(m.Imported(float('nan'), False))", "protocol_error", "imported.import_s"),
    ("print('Loading model, please wait', flush=True); time.sleep(600)", "protocol_error",
     "expected a frame"),
    ("raw(frame(m.Imported(0.1, False))[:-1] + b'?'); time.sleep(600)", "protocol_error", "CRC"),
    ("os.close(1); time.sleep(600)", "protocol_error", "closed its output, but lives on"),
]  # fmt: skip


@pytest.mark.parametrize(("script", "outcome", "words"), BROKEN)
def test_a_channel_turns_what_is_no_reply_into_a_fault(
    channel, monkeypatch, script, outcome, words
):
    if script.endswith("time.sleep(600)"):  # it does not exit, however long that is waited for
        monkeypatch.setattr("orchestrator.supervisor.channel.EXIT_AFTER_EOF_S", 0.3)
    opened = channel(script)
    fault = fault_of(opened.receive, soon())
    assert fault.outcome == outcome
    assert words in fault.message
    assert not fault.alive


@pytest.mark.parametrize("script", ["raw(frame(m.Imported(0.1, False))[:9]);", ""])
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
    opened = channel("send(m.Imported(0.5, False)); os._exit(0)")
    assert opened.tree.wait(LIMIT_S) == 0
    assert opened.receive(soon()).reply == messages.Imported(0.5, False)
    fault = fault_of(opened.receive, soon())
    assert (fault.outcome, fault.message) == ("crashed", "worker exited with status 0")


ORPHAN = """
send(m.Imported(0.5, False))
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
    assert opened.receive(soon()).reply == messages.Imported(0.5, False)
    fault = fault_of(opened.receive, soon())
    assert fault.message.startswith("worker exited with status 3\norphan ")
    assert not runs(int(fault.message.split()[-1]))  # already, and not only at close()


@posix_only
def test_a_death_is_told_although_an_orphan_prints_for_ever(channel):
    opened = channel(ORPHAN.format(then="while True: os.write(2, b'x' * 99 + b'\\n')"))
    assert opened.receive(soon()).reply == messages.Imported(0.5, False)
    fault = fault_of(opened.receive, soon())
    assert fault.message.startswith("worker exited with status 3")


@posix_only
def test_an_orphan_cannot_answer_for_a_dead_worker(channel):
    opened = channel(
        ORPHAN.format(then="while True: send(m.Imported(0.5, False)); time.sleep(0.01)")
    )
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
    assert seen["TQDM_DISABLE"] == "1"
