"""Measure how soon a worker's death is a row in the journal.

    python scripts/bench_death.py [--deaths 50]          Linux and macOS

A run by the code behind `asrbench orchestrate` over four models, whose worker dies in each attempt:

killed       a thread of this script sends SIGKILL while the worker sleeps in transcribe(), and
             notes the time just before.
segfault     the worker prints the time to stderr and then touches memory that is not its own.
…+orphan     before that it starts a process that leaves its session and holds every pipe of the
             worker open.

The time ends when the view is told of the attempt, which is after its line was fsynced. Each row is
checked: it must be a crash, and have the last text that the worker sent and the last line that
it printed before it died; and the orphan must be gone when all is over.

baseline     subprocess.wait() in this script, for a child of the same env with numpy imported that
             dies the same way, with and without the orphan, as many times, right after the run.

The goal is a median under 100 ms for each kind. Exit code 1: an orphan is left.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import soundfile
from bench_stack import built_stack

from orchestrator.environments.env import Env
from orchestrator.run import orchestrate
from orchestrator.run.options import RunOptions
from orchestrator.stacks import Stack
from orchestrator.supervisor.environment import worker_environment
from orchestrator.views.plain import QuietView
from schemas.messages import SAMPLE_RATE_HZ
from schemas.records import Attempt

NAME = "bench-death"
KINDS = ("killed", "segfault", "killed+orphan", "segfault+orphan")
CALM_S = 0.05  # until the controller waits again, so that the death finds it as a real one would
GOAL_S = 0.1

MODELS = "".join(
    f"[tool.asrbench.models.{kind.replace('+', '-')}]\ntranscribe_options = {{ kind = '{kind}' }}\n"
    for kind in KINDS
)
DYING = f"""\
import ctypes, os, subprocess, sys, time
import numpy


def leave_an_orphan():
    for fd in range(3, 64):
        try:
            os.set_inheritable(fd, True)
        except OSError:
            continue
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    return subprocess.Popen(command, close_fds=False, start_new_session=True).pid


def die(kind):
    time.sleep({CALM_S})
    print(f"last words {{time.perf_counter()}}", file=sys.stderr, flush=True)
    if kind.startswith("killed"):
        time.sleep(600)
    ctypes.string_at(0)
"""
WORKER = (
    DYING
    + """

def load(checkpoint, device):
    return None


def transcribe(model, audio, kind):
    orphan = leave_an_orphan() if kind.endswith("+orphan") else 0
    yield f"{os.getpid()} {orphan}"
    die(kind)
"""
)
BARE = (
    DYING
    + """

orphan = leave_an_orphan() if sys.argv[1].endswith("+orphan") else 0
print(orphan, flush=True)
die(sys.argv[1])
"""
)


def kill_soon(pid: int, died_at: list[float]) -> None:
    """SIGKILL from another thread, after the worker's last words."""

    def kill() -> None:
        time.sleep(3 * CALM_S)
        died_at.append(time.perf_counter())
        process.kill()

    process = psutil.Process(pid)
    threading.Thread(target=kill).start()


def segfault_at(printed: str) -> float:
    """When the worker said that it would: one clock for all processes of the machine."""
    return float(printed.partition("last words ")[2].split()[0])


@dataclass
class DeathView(QuietView):
    """Kills the workers that do not die by themselves, and notes when each row was there."""

    orphans: list[int] = field(default_factory=list)
    took_s: dict[str, list[float]] = field(default_factory=dict)
    _killed_at: list[float] = field(default_factory=list)
    _said: str = ""

    def partial(self, model: str, snippet: str, text: str) -> None:
        """An attempt is under way; the text has the worker's pid."""
        self._said = text
        pid, orphan = map(int, text.split())
        if orphan:
            self.orphans.append(orphan)
        if model.startswith("killed"):
            kill_soon(pid, self._killed_at)

    def attempt(self, attempt: Attempt) -> None:
        """Its row is on disk."""
        now = time.perf_counter()
        error = attempt.error or ""
        whole = "last words" in error and attempt.notes == (f"text before it ended: {self._said}",)
        if attempt.outcome != "crashed" or not whole:
            sys.exit(f"{attempt.model}: {attempt.outcome}: {error}: {attempt.notes}")
        killed = attempt.model.startswith("killed")
        died_at = self._killed_at.pop() if killed else segfault_at(error)
        self.took_s.setdefault(attempt.model.replace("-", "+"), []).append(now - died_at)


def lives(pid: int) -> bool:
    """One that is dead but not yet reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def bare_death_s(env: Env, kind: str) -> float:
    """From a death until subprocess.wait() returns."""
    command = [str(env.python), "-I", "-B", "-X", "utf8", "-X", "faulthandler", "-c", BARE, kind]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=worker_environment(Path(tempfile.gettempdir())),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        orphan, killed_at = int(process.stdout.readline()), list[float]()
        if kind.startswith("killed"):
            kill_soon(process.pid, killed_at)
        process.wait()
        now = time.perf_counter()
        if orphan:
            psutil.Process(orphan).kill()
        printed = process.stderr.read()
    return now - (killed_at.pop() if killed_at else segfault_at(printed))


def write_snippets(folder: Path, count: int) -> Path:
    """A manifest of that many recordings."""
    lines = []
    for number in range(count):
        file = folder / f"{number}.wav"
        soundfile.write(file, np.full(SAMPLE_RATE_HZ, 0.1), SAMPLE_RATE_HZ, subtype="PCM_16")
        lines.append(json.dumps({"audio_filepath": file.name, "text": "any text"}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    return manifest


def run_deaths(stack: Stack, folder: Path, deaths: int) -> DeathView:
    """All kinds, one after the other."""
    view = DeathView()
    options = RunOptions(
        models=tuple(kind.replace("+", "-") for kind in KINDS),
        snippets=write_snippets(folder, deaths),
        stacks=(stack.folder,),
        max_crashes=deaths + 1,
        retries=0,
        warm_up=False,
    )
    orchestrate.start(orchestrate.prepare(options), folder / "results", view)
    return view


def row(kind: str, took_s: list[float], bare_s: list[float]) -> str:
    """Medians and p99 in ms."""
    parts = []
    for times_s in (took_s, bare_s):
        p99 = statistics.quantiles(times_s, n=100, method="inclusive")[-1]
        parts.append(f"{statistics.median(times_s) * 1000:9.2f} {p99 * 1000:9.2f}")
    return f"{kind:16} {len(took_s):6} " + "  ".join(parts)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deaths", type=int, default=50, help="of each kind (default 50)")
    deaths = parser.parse_args().deaths
    with (
        tempfile.TemporaryDirectory() as name,
        built_stack(Path(name), NAME, WORKER, MODELS) as (stack, env),
    ):
        view = run_deaths(stack, Path(name), deaths)
        bare_s = {kind: [bare_death_s(env, kind) for _ in range(deaths)] for kind in KINDS}
    left = [pid for pid in view.orphans if lives(pid)]
    print("ms from death to journal line         to subprocess.wait()")
    print(f"{'kind':16} {'deaths':>6} {'median':>9} {'p99':>9}  {'median':>9} {'p99':>9}")
    for kind in KINDS:
        print(row(kind, view.took_s[kind], bare_s[kind]))
    print(f"every row has the worker's last text and last line; orphans left: {len(left)}")
    worst_s = max(statistics.median(times_s) for times_s in view.took_s.values())
    print(f"goal: each median under {GOAL_S * 1000:g} ms — {'yes' if worst_s < GOAL_S else 'no'}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
