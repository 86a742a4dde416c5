"""A worker that SIGKILL does not end, as one that hangs in a GPU driver: given up, not waited for.

The freezer of cgroup v1 makes real ones: a frozen process gets its signal only when it is thawed.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, STACKS, runs, stack_toml
from trees import LIMIT_S, until

from orchestrator import platforms

ICE = Path("/sys/fs/cgroup/freezer") / f"asrbench-test-{os.getpid()}"
STACK = stack_toml("freezes", ["freezes-a", "freezes-b"], accelerators=["cuda", "cpu"])
FREEZES = """
import atexit, os
from pathlib import Path
ICE = Path({ice!r})
WHEN = Path(__file__).with_name("when").read_text()
def freeze():
    (ICE / "cgroup.procs").write_text(str(os.getpid()))
    (ICE / "freezer.state").write_text("FROZEN")
def load(checkpoint, device):
    if WHEN == "shutdown":
        atexit.register(freeze)
def transcribe(model, audio):
    if WHEN == "transcribe":
        freeze()
    return "hello world"
"""
# the accelerator is only a name here: what freezes is a process
WRAPPER = """
import sys
from orchestrator.platforms import cgroup_folder, linux
from orchestrator.accelerators import Way
from orchestrator.environments.choice import Chain
from orchestrator.run import chain
from orchestrator.supervisor import channel, worker
worker.STOP_S = linux.KILL_WAIT_S = 1.0  # of 10 and 5 s: it never ends
cgroup_folder.EMPTYING_S = channel.THREADS_END_S = channel.STACK_S = 0.3
chain.choose = lambda stack, asked: Chain(
    (Way("cpu" if stack.name == "puppet" else "cuda"),)
)
from orchestrator.cli import main
sys.argv[0] = "asrbench"
main()
"""


@pytest.fixture(scope="module")
def freezes(tmp_path_factory):
    """A stack that freezes at the time that its file "when" tells."""
    stack = tmp_path_factory.mktemp("stacks") / "freezes"
    stack.mkdir()
    (stack / "pyproject.toml").write_text(STACK, encoding="utf-8")
    (stack / "worker.py").write_text(FREEZES.format(ice=str(ICE)), encoding="utf-8")
    shutil.copy(STACKS / "puppet" / "requirements.lock", stack)  # of the same packages
    return stack


@pytest.fixture
def ice():
    """A freezer; what is left in it is thawed and killed."""
    folder = ICE
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no freezer of cgroup v1 to make an unkillable process with: {error}")
    yield folder
    pids = [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    (folder / "freezer.state").write_text("THAWED")
    until(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


def test_what_cannot_be_killed_is_named_and_left(ice, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.platforms.linux.KILL_WAIT_S", 1.0)  # it never ends
    monkeypatch.setattr("orchestrator.platforms.cgroup_folder.EMPTYING_S", 0.3)
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    tree = platforms.spawn(command, dict(os.environ), tmp_path)
    (ice / "cgroup.procs").write_text(str(tree.pid))
    (ice / "freezer.state").write_text("FROZEN")
    until(lambda: (ice / "freezer.state").read_text().strip() == "FROZEN")
    left = tree.close()
    assert runs(tree.pid)
    assert f"process {tree.pid} is in state D and cannot be killed" in left
    os.kill(tree.pid, signal.SIGKILL)
    (ice / "freezer.state").write_text("THAWED")
    assert tree.wait(LIMIT_S) == -signal.SIGKILL


@pytest.mark.parametrize("when", ["transcribe", "shutdown"])
def test_its_device_is_quarantined_and_the_cpu_goes_on(
    ice, freezes, puppet_env, environment, clips, tmp_path, when
):
    (freezes / "when").write_text(when, encoding="utf-8")
    results = tmp_path / "r"
    done = subprocess.run(
        [sys.executable, "-c", WRAPPER, "orchestrate", "--stacks", freezes, "--stacks", STACKS,
         "--models", "freezes-a,freezes-b,puppet", "--snippets",
         clips("say", "dict", seconds=0.1),
         "--results", results, "--timeout", "1", "--no-warm-up"],
        cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", timeout=100,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    with (results / "latest" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    outcomes = [(row["Model"], row["Outcome"], row["Phase"]) for row in rows]
    assert outcomes == [
        *(
            [("freezes-a", "timed_out", "transcribe"), ("freezes-a", "failed", "spawn")]
            if when == "transcribe"
            else [("freezes-a", "ok", "transcribe")] * 2
        ),
        ("freezes-b", "failed", "spawn"),
        ("freezes-b", "failed", "spawn"),
        ("puppet", "ok", "transcribe"),
        ("puppet", "ok", "transcribe"),
    ]
    assert "cuda is not used any more in this run: freezes-a: process" in rows[2]["Error"]
    assert "cannot be killed" in rows[2]["Error"]
