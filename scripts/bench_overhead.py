"""Measure what the whole path of `asrbench orchestrate` adds to a model's own time.

    python scripts/bench_overhead.py [--rounds 8] [--pairs 2] [--audio DIR]

PocketSphinx transcribes the same clip again and again in three ways that take turns:

direct       the baseline. One process of the model's own env, same interpreter flags and
             environment variables, imports workers/pocketsphinx.py and calls load() once, then
             transcribe() on samples that were decoded beforehand. The time is its own clock
             around transcribe(). No pipe, no supervisor, no memory sampling, no records.
control      a second process like direct. Its ratio to direct would be 1 on a quiet machine: what
             it is instead says how far the other ratio can be trusted.
orchestrate  a run by the code behind `asrbench orchestrate`, over copies of the clip, with a view
             that has the direct side transcribe after each attempt. The time is Time_Sec: the
             controller's clock, handing over the last block → result received.

Clips are cut to their first 10 s: what the path adds does not grow with the audio, so the shortest
clips that the goal is about are the hardest. A pair is the faster of two attempts on each side,
all taking turns within seconds, so that a machine that gets slower or faster meanwhile does not
count. Where its memory happens to lie makes one process a few percent faster than its twin for as
long as it lives, so there are several rounds, each with fresh processes on all sides. The first
pair of each round is a warm-up and left out. Both sides must give the same text.
The goal is a median of the paired ratios below 1.02.
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

from orchestrator import paths
from orchestrator.accelerators import CPU
from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.environments.build import ensure_env
from orchestrator.environments.env import Env
from orchestrator.run import orchestrate
from orchestrator.run.options import RunOptions
from orchestrator.snippets.find import collect_snippets
from orchestrator.stacks import read_stack
from orchestrator.supervisor.environment import worker_environment
from orchestrator.views.plain import QuietView
from schemas.records import Attempt

MODEL = "pocketsphinx"
AUDIO_S = 10.0
BEST_OF = 2
GOAL = 1.02

# argument: the worker's file; then for each line, a file of float32 samples: a line of JSON
DIRECT = """\
import importlib.util, json, sys, time
import numpy as np

spec = importlib.util.spec_from_file_location("direct_worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
model = worker.load(None, "cpu")
for line in sys.stdin:
    audio = np.fromfile(line.strip(), "<f4")
    start = time.perf_counter()
    text = worker.transcribe(model, audio)
    print(json.dumps([text, time.perf_counter() - start]), flush=True)
"""


@dataclass
class Direct:
    """The baseline's process, and the samples that it is given."""

    process: subprocess.Popen[str]
    samples: Path

    def transcribe(self) -> tuple[str, float]:
        """Text and seconds."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.samples}\n")
        self.process.stdin.flush()
        text, time_s = json.loads(self.process.stdout.readline())
        return str(text), float(time_s)


@dataclass
class PairingView(QuietView):
    """Has the direct side, and its double, transcribe after each attempt."""

    direct: Direct
    control: Direct
    direct_s: list[float] = field(default_factory=list)
    control_s: list[float] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def attempt(self, attempt: Attempt) -> None:
        """One orchestrate time is there; a direct one follows."""
        control_first = len(self.attempts) % 2 == 0
        if control_first:
            self.control_s.append(self.control.transcribe()[1])
        text, time_s = self.direct.transcribe()
        if not control_first:
            self.control_s.append(self.control.transcribe()[1])
        if attempt.text != text:
            sys.exit(f"the texts differ:\n  {text}\n  {attempt.text} ({attempt.error})")
        self.attempts.append(attempt)
        self.direct_s.append(time_s)

    def pairs(self) -> list[tuple[float, float, float]]:
        """The fastest of each group: orchestrate, direct, control; the warm-up left out."""
        times = [attempt.time_s or 0.0 for attempt in self.attempts]
        starts = range(BEST_OF, len(times), BEST_OF)
        groups = [slice(start, start + BEST_OF) for start in starts]
        return [(min(times[g]), min(self.direct_s[g]), min(self.control_s[g])) for g in groups]


@contextmanager
def direct_side(env: Env, clip: Path, folder: Path) -> Iterator[Direct]:
    """The baseline's process with the decoded clip."""
    samples = folder / "samples.f32"
    np.concatenate(list(decode(clip, DecodedFacts(), 0.0, AUDIO_S))).astype("<f4").tofile(samples)
    command = [str(env.python), "-I", "-B", "-X", "utf8", "-X", "faulthandler", "-c", DIRECT]
    with subprocess.Popen(
        [*command, str(paths.WORKERS / f"{MODEL}.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=worker_environment(Path(tempfile.gettempdir())),
    ) as process:
        yield Direct(process, samples)


def measure(env: Env, clip: Path, pairs: int) -> PairingView:
    """One run over copies of the clip, with the direct side in between."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copies = folder / "copies"
        copies.mkdir()
        lines = []
        for number in range((pairs + 1) * BEST_OF):
            copy = copies / f"{number:03d}{clip.suffix}"
            shutil.copy(clip, copy)
            line = {"audio_filepath": str(copy), "text": "any text", "duration": AUDIO_S}
            lines.append(json.dumps(line))
        manifest = folder / "manifest.jsonl"
        manifest.write_text("\n".join(lines), encoding="utf-8")
        with direct_side(env, clip, folder) as direct, direct_side(env, clip, folder) as control:
            view = PairingView(direct, control)
            prepared = orchestrate.prepare(RunOptions(models=(MODEL,), snippets=manifest))
            orchestrate.start(prepared, folder / "results", view)
    return view


def long_clips(folders: list[Path]) -> list[Path]:
    """Recordings of at least AUDIO_S."""
    found = [snippet for folder in folders for snippet in collect_snippets(folder)]
    usable = [snippet for snippet in found if not snippet.error]
    return [snippet.audio for snippet in usable if (snippet.duration_s or 0.0) >= AUDIO_S]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--rounds", type=int, default=8, help="for each clip")
    parser.add_argument("--pairs", type=int, default=2, help="for each round")
    parser.add_argument("--audio", type=Path, help="a folder of further recordings")
    arguments = parser.parse_args()
    env = ensure_env(read_stack(paths.SHIPPED_STACKS / MODEL), CPU, print)
    clips = long_clips([paths.SHIPPED_SNIPPETS, *([arguments.audio] if arguments.audio else [])])
    count = arguments.rounds * arguments.pairs
    print(f"{MODEL}, {count} pairs a clip, medians; all texts are equal")
    print(f"{'clip':24} {'direct s':>9} {'orchestrate s':>14} {'ratio':>7}  middle half")
    ratios, noise, own = [], [], []
    for clip in clips:
        views = [measure(env, clip, arguments.pairs) for _ in range(arguments.rounds)]
        found = [pair for view in views for pair in view.pairs()]
        mine = [time_s / direct_s for time_s, direct_s, _ in found]
        ratios += mine
        noise += [control_s / direct_s for _, direct_s, control_s in found]
        own += [(a.time_s or 0.0) / (a.infer_s or 1.0) for view in views for a in view.attempts]
        low, _, high = statistics.quantiles(mine, n=4)
        print(
            f"{clip.name:24} {statistics.median(direct_s for _, direct_s, _ in found):9.3f} "
            f"{statistics.median(time_s for time_s, _, _ in found):14.3f} "
            f"{statistics.median(mine):7.4f}  {low:.3f} … {high:.3f}",
            flush=True,
        )
    ratio = statistics.median(ratios)
    print(f"median of {len(ratios)} paired ratios: {ratio:.4f}")
    print(f"control over direct, the noise of this machine: {statistics.median(noise):.4f}")
    print(f"Time_Sec over the worker's own clock in the same attempt: {statistics.median(own):.5f}")
    print(f"goal: under {GOAL} for clips of 10 s and more — {'yes' if ratio < GOAL else 'no'}")


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the docstring's lines."""


if __name__ == "__main__":
    main()
