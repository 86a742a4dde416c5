"""A venv's python.exe on Windows is a launcher: here a script plays it, before a real worker.

It starts the real interpreter as a child with its own pipes, waits, and ends as the child ended.
Run with the process tree of this platform and with the one that Windows has.
"""

from __future__ import annotations

import os
import shlex
import sys
import time

import numpy as np
import psutil
import pytest
import windows_stand_in
from conftest import STACKS, runs
from trees import ALLOCATE, LIMIT_S, line_of, until

from orchestrator import platforms
from orchestrator.platforms import venv_python
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.transcription import Recording
from orchestrator.supervisor.worker import Worker

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="there the real launcher is used, by every other test"
)
PUPPET = STACKS / "puppet"
SOURCE = """
import os, resource, subprocess, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
real, *arguments = sys.argv[1:]
if arguments[-2:-1] and arguments[-2].isdigit():  # a host here looks at its parent
    arguments[-2] = str(os.getpid())
code = subprocess.run([real, *arguments]).returncode
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@pytest.fixture
def launcher(tmp_path):
    """Make a launcher of this interpreter."""

    def make(python):
        script = tmp_path / "launcher.py"
        script.write_text(SOURCE, encoding="utf-8")
        command = shlex.join([sys.executable, "-I", str(script), str(python)])
        made = tmp_path / "python"
        made.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        made.chmod(0o755)
        return made

    return make


@pytest.fixture(params=["this platform's tree", "Windows' tree"])
def spawn(request, monkeypatch):
    # as on Windows: leaving the network would start the launcher a second time
    monkeypatch.setattr("orchestrator.supervisor.worker.worker_network", lambda python: "open")
    if request.param == "Windows' tree":
        monkeypatch.setattr("orchestrator.supervisor.channel.spawn", windows_stand_in.spawn)
        return windows_stand_in.spawn
    return platforms.spawn


@pytest.fixture
def tree(spawn, launcher, tmp_path):
    """Start a source through the launcher; closed at the end."""
    trees = []

    def go(source):
        command = [str(launcher(sys.executable)), "-I", "-c", source]
        trees.append(spawn(command, dict(os.environ), tmp_path))
        return trees[-1]

    yield go
    for one in trees:
        one.close()


@pytest.fixture
def worker(spawn, launcher, puppet_env, tmp_path):
    """The puppet, started through the launcher and loaded."""
    made = launcher(venv_python(puppet_env))
    spec = WorkerSpec(made, puppet_env, str(PUPPET / "worker.py"), {}, {}, None, "cpu")
    one = Worker(spec, tmp_path / "log.txt")
    try:
        one.load(LIMIT_S)
        yield one
    finally:
        one.close()


def told(worker, behaviour, timeout_s=LIMIT_S):
    from worker import BEHAVIOURS

    audio = np.full(8_000, BEHAVIOURS.index(behaviour) / 100, np.float32)
    return worker.transcribe(
        Recording("a", iter([audio]), len(audio)), timeout_s, lambda text: None
    )


def members(worker):
    """The launcher and the real interpreter."""
    until(lambda: len(worker.pids()) == 2)
    launched, real = worker._channel.tree.pid, worker._pids - {worker._channel.tree.pid}
    assert set(worker.pids()) == {launched, *real}
    return [launched, *real]


def test_the_real_interpreter_says_its_own_process_id(worker):
    assert told(worker, "say").text == "hello world"
    launched, real = members(worker)
    assert psutil.Process(real).ppid() == launched
    assert worker.end() is None
    assert worker.close() is None
    assert not runs(launched)
    assert not runs(real)


@pytest.mark.parametrize(
    ("behaviour", "words"), [("exit", "exited with status 0"), ("sigkill", "killed by SIGKILL")]
)
def test_the_launcher_passes_on_how_the_interpreter_ended(worker, behaviour, words):
    with pytest.raises(WorkerFault) as caught:
        told(worker, behaviour)
    assert caught.value.outcome == "crashed"
    assert caught.value.message.startswith(f"worker {words}")


def test_a_deadline_kills_launcher_and_interpreter(worker):
    both = members(worker)
    with pytest.raises(WorkerFault) as caught:
        told(worker, "sleep", timeout_s=0.5)
    assert caught.value.outcome == "timed_out"
    worker.close()
    assert [pid for pid in both if runs(pid)] == []


def test_a_killed_launcher_takes_the_interpreter_along(worker):
    launched, real = members(worker)
    psutil.Process(launched).kill()
    until(lambda: not runs(launched))
    with pytest.raises(WorkerFault):
        told(worker, "say")
    worker.close()
    assert not runs(real)


def test_the_interpreters_memory_counts_and_not_the_launchers_alone(tree):
    one = tree(ALLOCATE)
    assert line_of(one.stdout) == "ready"
    before = one.memory().peak_bytes
    one.write(memoryview(b"\n"), time.monotonic() + LIMIT_S)
    assert line_of(one.stdout) == "done"
    assert 90 << 20 < one.memory().peak_bytes - before < 110 << 20
    assert psutil.Process(one.pid).memory_info().rss < 90 << 20


def test_what_the_interpreter_started_is_killed_although_both_are_gone(tree):
    one = tree(
        "import os, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " stdin=subprocess.DEVNULL)\n"
        "print(p.pid, flush=True); os._exit(3)"
    )
    left = int(line_of(one.stdout))
    assert one.wait(LIMIT_S) == 3
    assert runs(left)
    assert one.close() is None
    until(lambda: not runs(left))


def test_a_worker_that_takes_no_audio_ends_at_the_deadline(tree):
    one = tree("import time; time.sleep(600)")
    with pytest.raises(TimeoutError):
        one.write(memoryview(bytes(4 << 20)), time.monotonic() + 0.3)
    one.close_stdin()  # does not wait for the write that is stuck
    assert one.close() is None
