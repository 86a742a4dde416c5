"""Compare each worker with a plain script of its library's documented usage, and batches with none.

    python scripts/bench_models.py --checkpoint MODEL=PATH … [--pairs 8] [--rounds 2]
        [--batch 8] [--clip NAME]

Checkpoints come from scripts/make_checkpoints.py: tiny ones, and by its --scale larger ones with
random weights. MODEL may be given several times.

worker   the worker's own clock around transcribe(), in a run by the code behind `asrbench
         orchestrate`.
plain    the baseline: a file of scripts/plain/ in a process of the same env, with the interpreter
         flags and environment of a worker; its own clock around the same thing. It takes a turn
         after each attempt, and has to give the same text.
batch    RTFx of a run with --batch over that of one without, over copies of the clip: one before
         and one after it, as the machine's speed changes. Only for models that take batches.

The clip is a shipped recording of some 5 s, if no other is named: what takes but 10 ms is measured
better on --clip long/lost-dog, of 26 s. A round is --pairs attempts of two fresh processes. In
every second one the plain side transcribes first: with onnxruntime on two cores, whoever began is
slower for as long as both live, by up to a tenth, and so is the plain script beside itself. Of a
round the median of paired ratios counts, first pair left out; of all rounds the geometric mean.
Goals: a worker's ratio is at most 1.05, a batch's above 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from orchestrator import paths
from orchestrator.accelerators import CPU
from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.environments.build import ensure_env
from orchestrator.environments.env import Env
from orchestrator.reports.report import Report
from orchestrator.run import orchestrate
from orchestrator.run.options import RunOptions
from orchestrator.stacks import find_model, load_stacks
from orchestrator.supervisor.environment import worker_environment
from orchestrator.views.plain import QuietView
from schemas.messages import SAMPLE_RATE_HZ
from schemas.records import Attempt

PLAIN = Path(__file__).resolve().parent / "plain"
GOAL = 1.05

# arguments: the plain file's folder and name, the checkpoint; then for each line of stdin, a file
# of float32 samples: a line of JSON
DRIVER = """\
import importlib, json, os, sys, time
out = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)
import numpy as np
sys.path.insert(0, sys.argv[1])
plain = importlib.import_module(sys.argv[2])
model = plain.load(sys.argv[3])
for line in sys.stdin:
    audio = np.fromfile(line.strip(), "<f4")
    start = time.perf_counter()
    text = plain.transcribe(model, audio)
    print(json.dumps([text, time.perf_counter() - start]), file=out, flush=True)
"""


@dataclass
class Pairing(QuietView):
    """Has the plain side transcribe after each attempt."""

    plain: subprocess.Popen[str]
    samples: Path
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def attempt(self, attempt: Attempt) -> None:
        """One worker's time is there; a plain one follows."""
        text, time_s = self.transcribe_plainly()
        if attempt.text is None or attempt.text.split() != text.split():
            sys.exit(f"the texts differ:\n  {text}\n  {attempt.text} ({attempt.error})")
        self.pairs.append((attempt.infer_s or 0.0, time_s))

    def transcribe_plainly(self) -> tuple[str, float]:
        """Text and seconds of the plain side."""
        assert self.plain.stdin is not None
        assert self.plain.stdout is not None
        self.plain.stdin.write(f"{self.samples}\n")
        self.plain.stdin.flush()
        text, time_s = json.loads(self.plain.stdout.readline())
        return text, float(time_s)


@dataclass(frozen=True)
class Measured:
    """Medians in seconds; ratios of the rounds; None: it takes no batches."""

    worker_s: float
    plain_s: float
    ratios: list[float]
    batch_gain: float | None

    @property
    def ratio(self) -> float:
        """Of all rounds."""
        return statistics.geometric_mean(self.ratios)


def main() -> None:
    """Print a line for each checkpoint; exit code 1 if a goal is not met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", action="append", required=True, dest="checkpoints", metavar="MODEL=PATH"
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="an even number")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--clip", default="garden-rain", help="of snippets/clean")
    given = parser.parse_args()
    if given.rounds < 2 or given.rounds % 2:
        parser.error("--rounds: both sides begin equally often, so it has to be an even number")
    print(
        f"{'model':<24} {'checkpoint MB':>13} {'worker s':>9} {'plain s':>8} {'ratio':>6} "
        f"(worker; plain first) batch"
    )
    met = True
    for text in given.checkpoints:
        model, _, path = text.partition("=")
        measured = measure(model, Path(path), given)
        gain = measured.batch_gain
        began, second = (statistics.geometric_mean(measured.ratios[half::2]) for half in (0, 1))
        told = "takes none" if gain is None else f"{gain:.2f} × with {given.batch} at once"
        print(
            f"{model:<24} {size_mb(Path(path)):>13.1f} {measured.worker_s:>9.4f} "
            f"{measured.plain_s:>8.4f} {measured.ratio:>6.3f} "
            f"{f'({began:.3f}; {second:.3f})':>21} {told}",
            flush=True,
        )
        met &= measured.ratio <= GOAL and (gain is None or gain > 1)
    sys.exit(0 if met else 1)


def measure(model: str, checkpoint: Path, given: argparse.Namespace) -> Measured:
    """Both comparisons for one checkpoint."""
    stack, _ = find_model(load_stacks().values(), model)
    env = ensure_env(stack, CPU, lambda said: print(said, file=sys.stderr))
    with tempfile.TemporaryDirectory(prefix="asrbench bench ") as scratch:
        folder = Path(scratch)
        samples = write_clips(folder / "clips", given.batch, given.clip)
        one = RunOptions(
            models=(model,),
            snippets=folder / "clips" / "0",
            checkpoints={model: checkpoint},
            repeats=given.pairs + 1,
        )
        rounds = []
        for number in range(given.rounds):
            with plain_side(env, stack.worker, checkpoint) as process:
                view = Pairing(process, samples)
                if number % 2:
                    view.transcribe_plainly()
                run(one, folder / "results", view)
            rounds.append(view.pairs[1:])
        found = [pair for pairs in rounds for pair in pairs]
        many = one.model_copy(update={"snippets": folder / "clips", "repeats": 2})
        return Measured(
            worker_s=statistics.median(worker_s for worker_s, _ in found),
            plain_s=statistics.median(plain_s for _, plain_s in found),
            ratios=[ratio_of(pairs) for pairs in rounds],
            batch_gain=batch_gain(many, folder / "results", given.batch),
        )


def ratio_of(pairs: list[tuple[float, float]]) -> float:
    """The median of worker over plain."""
    return statistics.median(worker_s / plain_s for worker_s, plain_s in pairs)


def batch_gain(options: RunOptions, results: Path, batch: int) -> float | None:
    """RTFx in batches over the mean of RTFx before and after, one by one."""
    together = options.model_copy(update={"batch": batch})
    before, middle, after = (
        run(one, results, QuietView()).summaries[0] for one in (options, together, options)
    )
    if middle.batch == 1 or not (before.rtfx and middle.rtfx and after.rtfx):
        return None
    return middle.rtfx / statistics.mean((before.rtfx, after.rtfx))


def run(options: RunOptions, results: Path, view: QuietView) -> Report:
    """One orchestrate; ends the script if a row has an error."""
    finished = orchestrate.start(orchestrate.prepare(options), results, view)
    wrong = next((row.error for row in finished.report.rows if row.error), None)
    if finished.exit_code:
        sys.exit(f"{options.models}: {wrong or 'interrupted'}")
    return finished.report


def write_clips(folder: Path, count: int, name: str) -> Path:
    """Copies of the clip in folders 0, 1, …, and its bare samples in a file of their own."""
    text = paths.SHIPPED_SNIPPETS / "clean" / f"{name}.txt"
    (recording,) = (one for one in text.parent.glob(f"{text.stem}.*") if one != text)
    audio = np.concatenate(list(decode(recording, DecodedFacts())))
    for number in range(count):
        place = folder / str(number)
        place.mkdir(parents=True)
        soundfile.write(place / "clip.wav", audio, SAMPLE_RATE_HZ, subtype="FLOAT")
        shutil.copy(text, place / "clip.txt")
    samples = folder / "samples.f32"
    audio.astype("<f4").tofile(samples)
    return samples


def size_mb(path: Path) -> float:
    """Of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


@contextmanager
def plain_side(env: Env, name: str, checkpoint: Path) -> Iterator[subprocess.Popen[str]]:
    """The baseline's process."""
    flags = ["-I", "-B", "-u", "-X", "utf8", "-c", DRIVER]
    with subprocess.Popen(
        [str(env.python), *flags, str(PLAIN), name, str(checkpoint)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env=worker_environment(Path(tempfile.gettempdir())),
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


if __name__ == "__main__":
    main()
