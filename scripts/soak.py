"""Random faults for a while: models that die, workers and controllers that are killed, --resume.

Each round is one run of the test stack's model over snippets, of which some take it down.
Meanwhile random signals hit its workers, and now and then the controller. After each death of the
controller nothing of its trees may live on; the run is resumed until it is done; then its rows must
equal those of an undisturbed run, and no file may be left. Within a controller's life, through all
the deaths of its workers, neither its memory nor its file descriptors may grow.

    python scripts/soak.py --minutes 10 --seed 1

Linux only: it reads /proc to find what was left. Exit code 1 with the first difference.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import soundfile
from soak_checks import (
    MIN_LOOKS,
    Failed,
    check_flat,
    check_hits,
    expect_no_files,
    expect_no_orphans,
    growth,
    use_of,
)

assert sys.platform not in ("win32", "darwin"), "reads /proc"

ROOT = Path(__file__).resolve().parent.parent
STACKS = ROOT / "tests" / "stacks"
KINDS = "say dict raise segfault generator number say print dict grandchild say dict".split()
BAD_ENDS = {
    "raise": "failed",
    "segfault": "crashed",
    "number": "failed",
    "grandchild": "crashed",
}  # the others are ok
SNIPPETS = 36
WORKER_SIGNALS = [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGSTOP]
CONTROLLER_SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
CONTROLLER_SHARE = 0.15  # of the signals
PAUSE_S = (0.05, 1.5)  # between two signals
ROUND_LIMIT_S = 300.0
COMPARED = ("Model", "Snippet", "Transcript", "Reference", "WER", "Outcome", "Phase")


@dataclass
class Tally:
    """What happened; and of each controller that lived long enough, how its use grew."""

    rounds: int = 0
    rows: int = 0
    worker_signals: int = 0
    controller_deaths: int = 0
    highest: list[float] = field(default_factory=lambda: [0.0, 0.0])  # MB, descriptors
    growth: list[tuple[float, float]] = field(default_factory=list)


def main() -> int:
    """Soak for as long as was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="asrbench söak ") as name:
        folder = Path(name)
        clips = make_clips(folder / "clips")
        environment = prepared_environment(folder)
        end = time.monotonic() + 60 * arguments.minutes
        try:
            expected = undisturbed(folder, clips, environment)
            while time.monotonic() < end:
                one_round(folder, clips, environment, expected, chance, tally)
                if tally.rounds % 5 == 0:
                    say(tally)
            say(tally)
            check_hits(tally.worker_signals, tally.controller_deaths)
            check_flat(tally.growth)
        except Failed as failed:
            print(f"FAILED in round {tally.rounds + 1}, seed {arguments.seed}: {failed}")
            return 1
    print("every round's rows equal the undisturbed run's; nothing was left; use is flat")
    return 0


def make_clips(folder: Path) -> Path:
    """Snippets whose first sample tells the test model what to do."""
    sys.path.insert(0, str(STACKS / "puppet"))
    BEHAVIOURS = importlib.import_module("worker").BEHAVIOURS  # noqa: N806

    folder.mkdir()
    for number in range(SNIPPETS):
        kind = KINDS[number % len(KINDS)]
        samples = np.full(1600, 0.25, np.float32)
        samples[0] = BEHAVIOURS.index(kind) / 100
        soundfile.write(folder / f"{number:03d}-{kind}.wav", samples, 16_000, subtype="FLOAT")
        (folder / f"{number:03d}-{kind}.txt").write_text("hello world", encoding="utf-8")
    return folder


def prepared_environment(folder: Path) -> dict[str, str]:
    """Variables of every command; temporary files land where they can be counted."""
    (folder / "tmp").mkdir()
    environment = os.environ | {
        "ASRBENCH_HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONUTF8": "1",
    }
    command = [sys.executable, "-m", "orchestrator", "env", "build", "puppet"]
    subprocess.run(
        [*command, "--stacks", str(STACKS)], cwd=ROOT, env=environment, check=True, stdout=2
    )
    return environment


def undisturbed(folder: Path, clips: Path, environment: dict[str, str]) -> list[tuple[str, ...]]:
    """The rows that every round must end with."""
    results = folder / "undisturbed"
    controller = start(new_run(clips, results), environment)
    controller.wait(ROUND_LIMIT_S)
    rows = rows_of(results)
    found = [row[COMPARED.index("Outcome")] for row in rows]
    wanted = [BAD_ENDS.get(KINDS[number % len(KINDS)], "ok") for number in range(SNIPPETS)]
    if found != wanted:
        raise Failed(f"undisturbed, the outcomes are {found}, not {wanted}")
    return rows


def one_round(
    folder: Path,
    clips: Path,
    environment: dict[str, str],
    expected: list[tuple[str, ...]],
    chance: random.Random,
    tally: Tally,
) -> None:
    """One run, disturbed and resumed until it is done."""
    results = folder / f"round-{tally.rounds}"
    limit = time.monotonic() + ROUND_LIMIT_S
    command = new_run(clips, results)
    controllers = list[int]()
    while True:
        controller = start(command, environment)
        controllers.append(controller.pid)
        died = disturb(controller, chance, tally, limit)
        expect_no_orphans(controller.pid)
        if not died:
            break
        tally.controller_deaths += 1
        if list(results.glob("2*/run.json")):
            command = ["--resume", "latest", "--results", str(results)]
    found = rows_of(results)
    for one, other in zip(expected, found, strict=True):
        if one != other:
            raise Failed(f"a row is {other}, undisturbed it was {one}; see {results}")
    tally.rounds += 1
    tally.rows += len(found)
    expect_no_files(folder, controllers)


def disturb(
    controller: subprocess.Popen[bytes],
    chance: random.Random,
    tally: Tally,
    limit: float,
) -> bool:
    """Send signals until the controller ends; whether one of them, or its effect, ended it."""
    hit, looks = False, list[tuple[float, float]]()
    while controller.poll() is None:
        wake = time.monotonic() + chance.uniform(*PAUSE_S)
        while time.monotonic() < wake and controller.poll() is None:
            looks += use_of(controller.pid)
            time.sleep(0.05)
        if time.monotonic() > limit:
            controller.kill()
            raise Failed("a round did not end")
        if chance.random() < CONTROLLER_SHARE:
            controller.send_signal(chance.choice(CONTROLLER_SIGNALS))
            hit = True
            controller.wait(60)
        else:
            tally.worker_signals += hit_worker(controller.pid, chance)
    tally.highest = [max(pair) for pair in zip(tally.highest, *looks, strict=True)]
    if len(looks) >= MIN_LOOKS:
        tally.growth.append(growth(looks))
    return hit and controller.returncode not in (0, 1)


def hit_worker(controller: int, chance: random.Random) -> int:
    """One signal to the worker, if it has one that is at work."""
    for child in psutil.Process(controller).children() if psutil.pid_exists(controller) else []:
        try:
            loaded = time.time() - child.create_time() > 0.5
            if "host.py" in " ".join(child.cmdline()):
                # a model that hangs while it loads is given up, which is right and no row's fault
                signals = WORKER_SIGNALS if loaded else WORKER_SIGNALS[:-1]
                child.send_signal(chance.choice(signals))
                return 1
        except psutil.Error:
            continue
    return 0


def new_run(clips: Path, results: Path) -> list[str]:
    """Many retries and crashes: it is not the model's fault this time."""
    return [
        "--models", "puppet", "--stacks", str(STACKS), "--snippets", str(clips), "--results",
        str(results), "--timeout", "1", "--retries", "4", "--max-crashes", "30", "--quiet",
    ]  # fmt: skip


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A controller."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "orchestrate", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def rows_of(results: Path) -> list[tuple[str, ...]]:
    """What is compared of each row."""
    with (results / "latest" / "results.csv").open(encoding="utf-8", newline="") as file:
        return [tuple(row[name] for name in COMPARED) for row in csv.DictReader(file)]


def say(tally: Tally) -> None:
    """A line of progress."""
    print(
        f"{tally.rounds} rounds, {tally.rows} rows, {tally.worker_signals} signals to workers, "
        f"{tally.controller_deaths} deaths of controllers; controller at most "
        f"{tally.highest[0]:.0f} MB, {tally.highest[1]:.0f} descriptors",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
