"""Measure what the whole path of `asrbench orchestrate` adds to a model's own time.

    python scripts/bench_overhead.py [--repeats 5] [--audio DIR]

PocketSphinx transcribes the same clips in two ways, in paired runs that take turns going first:

direct       the baseline. One process of the model's own env, same interpreter flags and
             environment variables, imports workers/pocketsphinx.py and calls load() once and
             transcribe() for each clip, on samples that were decoded beforehand. The time is its
             clock around transcribe(). No pipe, no supervisor, no memory sampling, no records.
orchestrate  `python -m orchestrator orchestrate` as a person would run it. The time is Time_Sec
             of results.csv: the controller's clock, last audio handed over → result received.

Both sides take the clips in the same order from a fresh process, and must give the same texts.
Clips under 10 s are left out. The goal is a ratio below 1.02 over all clips.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator import paths
from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.environments.build import ensure_env
from orchestrator.environments.env import Env
from orchestrator.snippets.find import collect_snippets
from orchestrator.snippets.snippet import Snippet
from orchestrator.stacks import read_stack
from orchestrator.supervisor.environment import worker_environment
from schemas.messages import SAMPLE_RATE_HZ

MODEL = "pocketsphinx"
MIN_AUDIO_S = 10.0
GOAL = 1.02

# reads nothing but its arguments: the worker's file, then one file of float32 samples per clip
DIRECT = """\
import importlib.util, json, sys, time
import numpy as np

spec = importlib.util.spec_from_file_location("direct_worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
model = worker.load(None, "cpu")
results = []
for file in sys.argv[2:]:
    audio = np.fromfile(file, "<f4")
    start = time.perf_counter()
    text = worker.transcribe(model, audio)
    results.append((text, time.perf_counter() - start))
print(json.dumps(results))
"""


@dataclass(frozen=True)
class Clip:
    """A recording, and its decoded samples for the direct side."""

    snippet: Snippet
    samples: Path
    audio_s: float


@dataclass(frozen=True)
class Result:
    """What one side says of one clip."""

    text: str
    time_s: float
    own_s: float  # the clock around transcribe(); on the direct side there is no other


@dataclass(frozen=True)
class Pair:
    """One clip's results of one paired run."""

    direct: Result
    orchestrate: Result


def write_manifest(folders: Sequence[Path], file: Path) -> None:
    """The recordings of 10 s and more, and no others, for --snippets."""
    lines = [
        {"audio_filepath": str(snippet.audio.resolve()), "text": snippet.reference}
        for folder in folders
        for snippet in collect_snippets(folder)
        if not snippet.error and (snippet.duration_s or 0.0) >= MIN_AUDIO_S
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def decode_clips(manifest: Path, scratch: Path) -> list[Clip]:
    """The manifest's clips in the order of a run, decoded by the project's own decoder."""
    clips: list[Clip] = []
    for snippet in collect_snippets(manifest):
        samples = np.concatenate(list(decode(snippet.audio, DecodedFacts())))
        file = scratch / f"{len(clips)}.f32"
        samples.astype("<f4").tofile(file)
        clips.append(Clip(snippet, file, len(samples) / SAMPLE_RATE_HZ))
    return clips


def run_direct(env: Env, clips: Sequence[Clip]) -> list[Result]:
    """A fresh process that loads the model and transcribes each clip."""
    command = [str(env.python), "-I", "-B", "-X", "utf8", "-c", DIRECT]
    command += [str(paths.WORKERS / f"{MODEL}.py"), *(str(clip.samples) for clip in clips)]
    done = subprocess.run(
        command, env=worker_environment(), stdout=subprocess.PIPE, check=True, encoding="utf-8"
    )
    return [Result(text, time_s, time_s) for text, time_s in json.loads(done.stdout)]


def run_orchestrate(manifest: Path, clips: Sequence[Clip], results: Path) -> list[Result]:
    """The real command, and the rows that it left in results.csv."""
    command = [sys.executable, "-m", "orchestrator", "orchestrate", "--quiet", "--models", MODEL]
    command += ["--snippets", str(manifest), "--results", str(results)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    file = max(results.glob("*/results.csv"))
    with file.open(encoding="utf-8", newline="") as stream:
        rows = {row["Snippet"]: row for row in csv.DictReader(stream)}
    found = (rows[clip.snippet.name] for clip in clips)
    return [
        Result(row["Transcript"], float(row["Time_Sec"]), float(row["Worker_Sec"])) for row in found
    ]


def measure(env: Env, manifest: Path, repeats: int, scratch: Path) -> dict[Clip, list[Pair]]:
    """For each clip its pairs; the sides take turns going first. One warm-up pair is left out."""
    clips = decode_clips(manifest, scratch)
    pairs: dict[Clip, list[Pair]] = {clip: [] for clip in clips}
    for repeat in range(-1, repeats):
        results = scratch / f"results-{repeat + 1}"
        if repeat % 2:
            orchestrated = run_orchestrate(manifest, clips, results)
            direct = run_direct(env, clips)
        else:
            direct = run_direct(env, clips)
            orchestrated = run_orchestrate(manifest, clips, results)
        for clip, *both in zip(clips, direct, orchestrated, strict=True):
            pair = Pair(*both)
            if pair.direct.text != pair.orchestrate.text:
                sys.exit(f"error: the texts of {clip.snippet.name} differ: {pair}")
            if repeat >= 0:
                pairs[clip].append(pair)
    return pairs


def sums(results: Sequence[Result]) -> Result:
    """All clips of one repeat as if they were one."""
    return Result("", sum(one.time_s for one in results), sum(one.own_s for one in results))


def ratios(pairs: Sequence[Pair]) -> tuple[float, float, float, float, float]:
    """Both medians, their ratio, the median of the paired ratios, and the ratio of the fastest."""
    direct_s = [pair.direct.time_s for pair in pairs]
    orchestrate_s = [pair.orchestrate.time_s for pair in pairs]
    medians = statistics.median(direct_s), statistics.median(orchestrate_s)
    paired = statistics.median(o / d for o, d in zip(orchestrate_s, direct_s, strict=True))
    return *medians, medians[1] / medians[0], paired, min(orchestrate_s) / min(direct_s)


def print_result(pairs: dict[Clip, list[Pair]]) -> None:
    """A row for each clip, one for all, and the goal."""
    every = [
        Pair(sums([pair.direct for pair in repeat]), sums([pair.orchestrate for pair in repeat]))
        for repeat in zip(*pairs.values(), strict=True)
    ]
    rows = [(clip.snippet.audio.name, clip.audio_s, found) for clip, found in pairs.items()]
    rows.append(("all clips", sum(clip.audio_s for clip in pairs), every))
    print(f"{MODEL}, {len(every)} paired runs, medians in seconds; all texts are equal")
    print("direct       load() and transcribe() called in one process of the model's env")
    print("orchestrate  Time_Sec of `python -m orchestrator orchestrate`")
    print(
        f"{'clip':28} {'audio':>7} {'direct':>9} {'orchestrate':>11} "
        f"{'ratio':>8} {'paired':>8} {'fastest':>8}"
    )
    for name, audio_s, found in rows:
        direct_s, orchestrate_s, ratio, paired, fastest = ratios(found)
        print(
            f"{name:28} {audio_s:7.1f} {direct_s:9.4f} {orchestrate_s:11.4f} "
            f"{ratio:8.4f} {paired:8.4f} {fastest:8.4f}"
        )
    _, _, ratio, paired, fastest = ratios(every)
    both = [pair.orchestrate for found in pairs.values() for pair in found]
    outside_s = statistics.median(one.time_s - one.own_s for one in both)
    share = statistics.median(one.time_s / one.own_s for one in both)
    print(f"ratio: of medians {ratio:.4f}, median of paired {paired:.4f}, of fastest {fastest:.4f}")
    print(f"Time_Sec over the worker's own clock in the same attempt: {share:.5f}")
    print(f"  (a median of {outside_s * 1000:.2f} ms a clip outside transcribe())")
    verdict = "yes" if ratio < GOAL else "no"
    print(f"goal: under {GOAL:g} for clips of {MIN_AUDIO_S:g} s and more — {verdict}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="paired runs (default 5)")
    parser.add_argument("--audio", type=Path, action="append", default=[], metavar="DIR",
                        help="more recordings, each with NAME.txt beside it")  # fmt: skip
    arguments = parser.parse_args()
    stack = read_stack(paths.SHIPPED_STACKS / MODEL)
    env = ensure_env(stack, "cpu", lambda line: print(line, file=sys.stderr))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        manifest = scratch / "clips.jsonl"
        write_manifest([paths.SHIPPED_SNIPPETS, *arguments.audio], manifest)
        print_result(measure(env, manifest, arguments.repeats, scratch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
