"""Deaths and interruptions at any moment: nothing recorded is lost, nothing is left running."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, STACKS, held, runs

from orchestrator import interruptions
from orchestrator.cli.orchestrate import PLAIN_OPTIONS, _options
from orchestrator.environments import uv
from orchestrator.environments.uv import run_uv
from orchestrator.interruptions import interruptions_wait, run, terminate_like_ctrl_c
from orchestrator.run.options import RunOptions

# these tests count first tries
FIRST_TRIES = ["--no-warm-up", "--retries", "0"]


def read_rows(results):
    with (results / "latest" / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def start(environment, *arguments, program=("-m", "orchestrator")):
    return subprocess.Popen(
        [sys.executable, *program, "orchestrate", *map(str, arguments), *FIRST_TRIES],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 no threads here
    )


def _heed_ctrl_c():
    """A test run in the background has been told to ignore it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(condition, seconds=30):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def worker_of(controller):
    return wait_for(lambda: children_of(controller, "host.py"))[0]


def children_of(controller, name):
    children = psutil.Process(controller.pid).children()
    return [child for child in children if name in " ".join(child.cmdline())]


def outcomes(results):
    return {row["Snippet"]: row["Outcome"] for row in read_rows(results)}


def journal_lines(results):
    files = list(results.glob("2*/journal.jsonl"))
    return files[0].read_bytes().count(b'"kind":"attempt"') if files else 0


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])
def test_a_worker_killed_from_outside_costs_one_row(environment, puppet_env, clips, tmp_path, name):
    results = tmp_path / "r"
    controller = start(
        environment, "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", clips("say", "sleep", "dict"),
    )  # fmt: skip
    wait_for(lambda: journal_lines(results) == 1)
    worker_of(controller).send_signal(getattr(signal, name))
    out, _ = controller.communicate(timeout=60)
    assert controller.returncode == 1, out
    assert outcomes(results) == {"00-say": "ok", "01-sleep": "crashed", "02-dict": "ok"}
    assert name in [row["Error"] for row in read_rows(results)][1]


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_a_killed_controller_leaves_no_orphan_and_resumes_to_the_same_rows(
    environment, asrbench, puppet_env, clips, tmp_path
):
    folder = clips("say", "raise", "sleep", "dict", seconds=0.1)
    common = ["--models", "puppet", "--stacks", STACKS, "--snippets", folder]
    short = ["--timeout", "1"]
    asrbench("orchestrate", *common, *FIRST_TRIES, *short, "--results", tmp_path / "undisturbed")

    results = tmp_path / "r"
    controller = start(environment, *common, "--results", results)
    wait_for(lambda: journal_lines(results) == 2)
    worker = worker_of(controller)
    controller.kill()
    controller.communicate(timeout=10)
    wait_for(lambda: not runs(worker.pid), seconds=5)

    done = asrbench("orchestrate", "--resume", "latest", "--results", results, *short)
    assert outcomes(results) == outcomes(tmp_path / "undisturbed")
    assert done.code == 1
    assert "puppet: 2 snippets to do" in done.out
    assert journal_lines(results) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_says_so_and_can_go_on(
    environment, asrbench, puppet_env, clips, tmp_path, name
):
    results, folder = tmp_path / "r", clips("say", "sleep", "dict", seconds=0.1)
    controller = start(
        environment, "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", folder,
    )  # fmt: skip
    wait_for(lambda: journal_lines(results) == 1)
    worker = worker_of(controller)
    controller.send_signal(getattr(signal, name))
    out, _ = controller.communicate(timeout=30)
    assert controller.returncode == 130
    assert "Traceback" not in out
    assert "--resume" in out
    assert not runs(worker.pid)
    assert outcomes(results) == {"00-say": "ok", "01-sleep": "", "02-dict": ""}
    asrbench("orchestrate", "--resume", "latest", "--results", results, "--timeout", "1")
    assert outcomes(results) == {"00-say": "ok", "01-sleep": "timed_out", "02-dict": "ok"}


def test_a_torn_last_line_is_dropped_and_said(asrbench, puppet_env, clips, tmp_path):
    results = tmp_path / "r"
    asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", clips("say", "dict"),
    )  # fmt: skip
    journal = results / "latest" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    done = asrbench("orchestrate", "--resume", "latest", "--results", results)
    assert done.code == 0
    assert "torn" in done.out
    assert "puppet: 1 snippet to do" in done.out
    assert outcomes(results) == {"00-say": "ok", "01-dict": "ok"}


def test_a_changed_recording_is_heard_again_on_resume(asrbench, puppet_env, clips, tmp_path):
    results, folder = tmp_path / "r", clips("raise", "dict")
    arguments = ["--models", "puppet", "--stacks", STACKS, "--snippets", folder]
    asrbench("orchestrate", *arguments, "--results", results)
    (folder / "00-raise.wav").write_bytes((folder / "01-dict.wav").read_bytes())
    done = asrbench("orchestrate", "--resume", "latest", "--results", results)
    assert done.code == 0, done.out
    assert "puppet: 1 snippet to do" in done.out


def test_a_run_folder_in_use_names_its_holder(environment, asrbench, puppet_env, clips, tmp_path):
    results = tmp_path / "r"
    controller = start(
        environment, "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", clips("sleep"),
    )  # fmt: skip
    try:
        wait_for(lambda: list(results.glob("2*/journal.jsonl")))
        done = asrbench("orchestrate", "--resume", "latest", "--results", results)
    finally:
        controller.terminate()
        controller.communicate(timeout=30)
    assert done.code == 2
    assert f"process {controller.pid}" in done.err


NO_CGROUP = """
import sys
from orchestrator.platforms import cgroups
cgroups.make_cgroup = lambda *arguments: None
sys.argv[0] = "asrbench"
from orchestrator.cli import main
main()
"""
WORLDS = {"cgroup": ["-m", "orchestrator"], "no cgroup": ["-c", NO_CGROUP]}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux marks its process trees")
@pytest.mark.parametrize("world", WORLDS)
def test_a_killed_controllers_grandchildren_end_with_the_next_run(
    environment, puppet_env, clips, tmp_path, world
):
    """If its guardian was killed before it."""
    results, environment = tmp_path / "r", environment | {"TMPDIR": str(tmp_path)}
    controller = start(
        environment, "--models", "puppet", "--stacks", STACKS, "--results", results,
        "--snippets", clips("nurse", seconds=0.1), "--timeout", "600", program=WORLDS[world],
    )  # fmt: skip

    def child():
        logs = list(results.glob("2*/logs/puppet.log"))
        return logs and re.search(r"child (\d+)\n", logs[0].read_text(encoding="utf-8"))

    pid = int(wait_for(child)[1])
    worker = worker_of(controller)
    (guardian,) = children_of(controller, "guardian.py")
    guardian.kill()
    wait_for(lambda: not runs(guardian.pid))
    controller.kill()
    controller.communicate(timeout=10)
    wait_for(lambda: not runs(worker.pid))
    assert runs(pid)
    again = start(
        environment, "--resume", "latest", "--results", results, "--timeout", "1",
        program=WORLDS[world],
    )  # fmt: skip
    again.communicate(timeout=60)
    wait_for(lambda: not runs(pid), seconds=5)


def stack_with_checkpoint(folder):
    """The puppet's dependencies, one model, both with the folder's name; no worker.py yet."""
    folder.mkdir()
    text = (STACKS / "puppet" / "pyproject.toml").read_text(encoding="utf-8")
    text = text.partition("[tool.asrbench.models")[0].replace('"puppet"', f'"{folder.name}"')
    text += f'[tool.asrbench.models.{folder.name}]\ncheckpoint = "owner/repo"\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_resumed_run_keeps_its_stacks_and_gets_further_ones(
    asrbench, puppet_env, clips, tmp_path
):
    stack = stack_with_checkpoint(tmp_path / "far")
    (stack / "worker.py").write_text("", encoding="utf-8")
    asrbench(
        "orchestrate", "--models", "puppet", "--stacks", STACKS, "--snippets", clips("say"),
        "--results", tmp_path / "r",
    )  # fmt: skip
    done = asrbench(
        "orchestrate", "--resume", "latest", "--results", tmp_path / "r", "--json",
        "--stacks", stack, "--stacks", STACKS, "--models", "far",
    )  # fmt: skip
    assert done.code == 1, done.err  # the checkpoint of the one is not on this machine
    rows = {row["model"]: (row["outcome"], row["phase"]) for row in done.json()["rows"]}
    assert rows == {"puppet": ("ok", "transcribe"), "far": ("failed", "download")}


def test_a_resumed_run_keeps_its_checkpoints_and_gets_further_ones(tmp_path):
    recorded = RunOptions(snippets=tmp_path, checkpoints={"a": "/a", "b": "/b"})
    given = dict.fromkeys([*PLAIN_OPTIONS, "memory_limit_bytes", "models"])
    given |= {"stacks": (), "checkpoints": ("b=/new", "c=/c")}
    merged = _options(given, recorded).checkpoints
    assert merged == {"a": Path("/a"), "b": Path("/new"), "c": Path("/c")}


def test_a_changed_worker_or_checkpoint_is_run_again_on_resume(asrbench, clips, tmp_path):
    stack = stack_with_checkpoint(tmp_path / "changing")
    shutil.copy(STACKS / "puppet" / "requirements.lock", stack)  # of the same packages
    (stack / "helper.py").write_text("WORD = 'old'\n", encoding="utf-8")
    (stack / "worker.py").write_text(
        "from .helper import WORD\n"
        "def load(checkpoint, device):\n    return open(checkpoint).read()\n"
        "def transcribe(model, audio):\n    return WORD + ' ' + model\n",
        encoding="utf-8",
    )
    weights = tmp_path / "weights"
    weights.write_text("old", encoding="utf-8")
    results = tmp_path / "r"
    asrbench(
        "orchestrate", "--models", "changing", "--stacks", stack, "--snippets", clips("say"),
        "--checkpoint", f"changing={weights}", "--results", results,
    )  # fmt: skip
    assert [row["Transcript"] for row in read_rows(results)] == ["old old"]
    (stack / "helper.py").write_text("WORD = 'newer'\n", encoding="utf-8")
    asrbench("orchestrate", "--resume", "latest", "--results", results)
    assert [row["Transcript"] for row in read_rows(results)] == ["newer old"]
    weights.write_text("newest", encoding="utf-8")
    asrbench("orchestrate", "--resume", "latest", "--results", results)
    assert [row["Transcript"] for row in read_rows(results)] == ["newer newest"]


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (subprocess.Popen, "_get_handles"),
        (subprocess.Popen, "_execute_child"),
        (threading.Timer, "start"),
    ],
    ids=["pipes", "process", "thread"],
)
def test_ctrl_c_as_a_command_of_uv_begins_leaves_nothing_behind(
    ctrl_c_after, tmp_path, kind, method
):
    before = held()
    with ctrl_c_after(kind, method):
        run_uv(["--version"], tmp_path, tmp_path / "log", "it cannot be asked")
    assert held() == before


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_an_interruption_of_us_alone_ends_also_what_a_command_started(tmp_path):
    file = tmp_path / "pid"

    def strike():
        wait_for(lambda: file.exists() and file.read_text(encoding="utf-8"))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=strike)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run([sys.executable, "-c", PARENT, str(file)], timeout_s=60)
    thread.join()
    child = int(file.read_text(encoding="utf-8"))
    wait_for(lambda: not runs(child))


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_sigterm_ends_any_command_like_ctrl_c(environment, puppet_env):
    controller = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "models", "check", "puppet-sleeps", "--stacks",
         STACKS], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    worker = worker_of(controller)
    controller.terminate()
    _, err = controller.communicate(timeout=60)
    assert (controller.returncode, err.splitlines()[-1]) == (130, "interrupted")
    wait_for(lambda: not runs(worker.pid))


@pytest.mark.parametrize("method", ["_get_handles", "_execute_child", "communicate"])
def test_ctrl_c_around_another_command_leaves_nothing_behind(ctrl_c_after, tmp_path, method):
    before = held()
    program = "import time; time.sleep(600)" if method == "_execute_child" else ""
    with ctrl_c_after(subprocess.Popen, method):
        run([sys.executable, "-c", program])
    assert held() == before


def test_ctrl_c_as_a_command_of_uv_ends_does_not_wait_for_its_time_to_be_over(
    monkeypatch, tmp_path
):
    cancelled = []

    class Struck(threading.Timer):
        def cancel(self):
            signal.raise_signal(signal.SIGINT)
            super().cancel()
            cancelled.append(self)

    monkeypatch.setattr(threading, "Timer", Struck)
    monkeypatch.setattr(uv, "TIMEOUT_S", 5.0)
    with pytest.raises(KeyboardInterrupt):
        run_uv(["--version"], tmp_path, tmp_path / "log", "it cannot be asked")
    assert [timer.is_alive() for timer in cancelled] == [False]


SLOW_BUILD = """
import sys, time
print("Building slow==1", file=sys.stderr, flush=True)
time.sleep(20)
open("done", "w").close()
"""


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_ctrl_c_ends_a_command_of_uv_that_has_work_to_do(monkeypatch, tmp_path, again):
    class Struck(subprocess.Popen):
        def kill(self):
            if again:
                signal.raise_signal(signal.SIGINT)
            super().kill()

    monkeypatch.setattr(subprocess, "Popen", Struck)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: sys.executable)
    before = held()
    with pytest.raises(KeyboardInterrupt):
        run_uv(
            ["-c", SLOW_BUILD], tmp_path, tmp_path / "log", "it cannot be built",
            say=lambda line: signal.raise_signal(signal.SIGINT),
        )  # fmt: skip
    assert held() == before
    assert not (tmp_path / "done").exists()


def test_a_command_of_uv_that_cannot_be_killed_is_given_up(monkeypatch, tmp_path):
    started = []

    class Immortal(subprocess.Popen):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            started.append(self)

        def kill(self):
            """What the system makes of it while a disk does not answer."""

    monkeypatch.setattr(subprocess, "Popen", Immortal)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: sys.executable)
    monkeypatch.setattr(interruptions, "GONE_S", 0.1)
    with pytest.raises(KeyboardInterrupt):
        run_uv(
            ["-c", SLOW_BUILD], tmp_path, tmp_path / "log", "it cannot be built",
            say=lambda line: signal.raise_signal(signal.SIGINT),
        )  # fmt: skip
    (left,) = started
    assert left.poll() is None
    left.terminate()
    left.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_waits_strikes_when_the_block_is_done(number):
    done = []
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), terminate_like_ctrl_c():
        with interruptions_wait():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append("all of it")
        done.append("too much")
    assert done == ["all of it"]
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_handler_that_an_interruption_leaves_behind_does_what_the_one_before_did():
    with interruptions_wait():
        left = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        left(signal.SIGINT, None)


def test_where_nothing_strikes_nothing_waits():
    def elsewhere():
        with interruptions_wait():
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    with interruptions_wait():
        pass
    assert handlers == [signal.getsignal(signal.SIGINT)]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals outlive the start of a program")
def test_what_is_ignored_is_ignored_by_what_is_started_too():
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptions_wait():
            signal.raise_signal(signal.SIGINT)
            done = subprocess.run(
                [sys.executable, "-c", ask], stdout=subprocess.PIPE, check=True, encoding="utf-8"
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.stdout.strip() == "True"
