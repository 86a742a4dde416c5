"""Measure what the controller needs in memory and time over very many attempts.

    python scripts/bench_attempts.py [--attempts 20000]

A real `asrbench orchestrate` runs a worker that answers at once over that many recordings of
0.1 s, each a file of its own. It is watched from outside: its resident memory is sampled over the
whole run, and the line that it prints after each attempt was journaled is read as it comes.

RSS       of the controller, at 10 %, 50 % and 100 % of the attempts; its highest value after the
          last attempt, while the report is made; the slope from 10 % to 100 % by least squares.
cost      of an attempt: the time from one journaled attempt to the next, less the worker's own
          infer_s. It includes decoding, both pipes, checks, measuring, the journal's fsync and
          the printed line. Beside it the processor time that the controller itself used for an
          attempt: on a busy machine the cost holds the waits for a processor too.
baseline  round trips with a child that reads the same samples from a bare pipe into one buffer
          and answers with a short line, each followed by one append of about as many bytes as
          the journal gets, and its fsync, to the same disk. As many as there are attempts, one
          half before and one half after the run. No decoding, no frames, no check, no measuring.

The goals: RSS under 150 MB at all times and flat, a median cost under 2 ms. MB is 1,000,000 bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil
import soundfile
from bench_stack import built_stack

from orchestrator.environments.env import Env
from orchestrator.stacks import Stack
from schemas.messages import SAMPLE_RATE_HZ

NAME = "bench-attempts"
AUDIO_S = 0.1
TEXT = "constant text"
SAMPLE_PERIOD_S = 0.02
LINE_BYTES = 800  # of the baseline's append; about what an attempt has in the journal
GOAL_MB = 150.0
GOAL_GROWTH_MB = 5.0  # from 10 % to 100 %: a table of the interpreter may double once
GOAL_COST_S = 0.002

MODELS = f"[tool.asrbench.models.{NAME}]\n"
WORKER = f"""\
def load(checkpoint, device):
    return None


def transcribe(model, audio):
    return {TEXT!r}
"""
RAW_CHILD = """\
import os, sys

byte_count = int(sys.argv[1])
whole = memoryview(bytearray(byte_count))
stdin = open(0, "rb", buffering=0)
while True:
    filled = 0
    while filled < byte_count:
        count = stdin.readinto(whole[filled:])
        if not count:
            sys.exit(0)
        filled += count
    os.write(1, b"constant text\\n")
"""


@dataclass(frozen=True)
class Sample:
    """One look at the controller."""

    at: float
    rss_mb: float
    cpu_s: float


@dataclass(frozen=True)
class Watched:
    """A finished run as seen from outside. Times are time.perf_counter()."""

    ended_at: list[float]  # of each attempt
    infer_s: list[float]
    line_bytes: int  # of an attempt in the journal
    samples: list[Sample]

    def cost_s(self) -> list[float]:
        """Of each attempt but the first, whose beginning is not seen."""
        pairs = zip(self.ended_at, self.ended_at[1:], strict=False)
        return [
            now - before - own for (before, now), own in zip(pairs, self.infer_s[1:], strict=True)
        ]

    def rss_mb(self, share: float) -> float:
        """When this share of the attempts had ended."""
        at = self.ended_at[max(0, round(share * len(self.ended_at)) - 1)]
        return min(self.samples, key=lambda sample: abs(sample.at - at)).rss_mb

    def report_mb(self) -> float:
        """The highest after the last attempt."""
        return max(sample.rss_mb for sample in self.samples if sample.at >= self.ended_at[-1])

    def highest_mb(self) -> float:
        """Of all samples."""
        return max(sample.rss_mb for sample in self.samples)

    def slope_mb(self) -> float:
        """Growth for each 1,000 attempts, from 10 % to 100 %."""
        window, done = self._window()
        return float(np.polyfit(done / 1000, [sample.rss_mb for sample in window], 1)[0])

    def cpu_s(self) -> float:
        """Processor time of the controller for an attempt, from 10 % to 100 %."""
        window, done = self._window()
        return (window[-1].cpu_s - window[0].cpu_s) / float(done[-1] - done[0])

    def _window(self) -> tuple[list[Sample], npt.NDArray[np.intp]]:
        first, last = self.ended_at[len(self.ended_at) // 10], self.ended_at[-1]
        window = [sample for sample in self.samples if first <= sample.at <= last]
        return window, np.searchsorted(self.ended_at, [sample.at for sample in window])


def write_snippets(folder: Path, count: int) -> tuple[Path, bytes]:
    """A manifest of that many files; and the samples of each as they cross the pipe."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, round(AUDIO_S * SAMPLE_RATE_HZ))
    first = folder / "0.wav"
    soundfile.write(first, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    content = first.read_bytes()
    lines = []
    for number in range(count):
        file = folder / f"{number}.wav"
        file.write_bytes(content)
        lines.append(json.dumps({"audio_filepath": file.name, "text": TEXT, "duration": AUDIO_S}))
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(lines), encoding="utf-8")
    return manifest, samples.astype("<f4").tobytes()


def watch(stack: Stack, manifest: Path, results: Path, count: int) -> Watched:
    """Run the real command and look at it."""
    command = [sys.executable, "-m", "orchestrator", "orchestrate", "--models", NAME]
    command += ["--no-warm-up", "--stacks", str(stack.folder), "--snippets", str(manifest)]
    samples = []
    with subprocess.Popen(
        [*command, "--results", str(results)],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd=Path(__file__).resolve().parent.parent,
        env=os.environ | {"PYTHONUTF8": "1"},
    ) as process:
        controller = psutil.Process(process.pid)

        def sample() -> None:
            try:
                while True:
                    rss_mb, cpu = controller.memory_info().rss / 1e6, controller.cpu_times()
                    samples.append(Sample(time.perf_counter(), rss_mb, cpu.user + cpu.system))
                    time.sleep(SAMPLE_PERIOD_S)
            except psutil.Error:  # it ended
                return

        sampler = threading.Thread(target=sample)
        sampler.start()
        assert process.stdout is not None
        ended_at = [time.perf_counter() for line in process.stdout if ": ok, " in line]
        process.wait()
        sampler.join()
    journal = (results / "latest" / "journal.jsonl").read_bytes()
    lines = [line for line in journal.splitlines() if b'"kind":"attempt"' in line]
    attempts = [json.loads(line) for line in lines]
    good = sum(attempt["outcome"] == "ok" and attempt["text"] == TEXT for attempt in attempts)
    if process.returncode or not good == len(ended_at) == count:
        sys.exit(f"exit code {process.returncode}, {len(ended_at)} lines, {good} good attempts")
    infer_s = [attempt["infer_s"] for attempt in attempts]
    return Watched(ended_at, infer_s, len(lines[0]) + 1, [one for one in samples if one.rss_mb])


def bare_trips(env: Env, audio: bytes, count: int, file: Path) -> list[float]:
    """Seconds of each round trip with its append."""
    command = [str(env.python), "-I", "-B", "-X", "utf8", "-c", RAW_CHILD, str(len(audio))]
    line, times_s = b"x" * LINE_BYTES, []
    with (
        file.open("ab", buffering=0) as journal,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        for _ in range(count):
            start = time.perf_counter()
            child.stdin.write(audio)
            assert child.stdout.readline() == TEXT.encode() + b"\n"
            journal.write(line)
            os.fsync(journal.fileno())
            times_s.append(time.perf_counter() - start)
        child.stdin.close()
    return times_s


def spread(times_s: list[float]) -> str:
    """Median and p99."""
    p99 = statistics.quantiles(times_s, n=100)[-1]
    return f"median {statistics.median(times_s) * 1000:6.3f} ms   p99 {p99 * 1000:7.3f} ms"


def print_result(seen: Watched, bare_s: list[float]) -> None:
    """All figures and whether they meet the goals."""
    shares = "   ".join(f"{share:.0%} {seen.rss_mb(share):.1f}" for share in (0.1, 0.5, 1.0))
    highest, slope = seen.highest_mb(), seen.slope_mb()
    cost_s = statistics.median(seen.cost_s())
    print(f"attempts   {len(seen.ended_at)}, all ok, {seen.line_bytes} bytes of journal each")
    print(f"RSS MB     {shares}   report {seen.report_mb():.1f}   highest {highest:.1f}")
    print(f"slope      {slope:+.3f} MB for each 1,000 attempts")
    print(f"cost       {spread(seen.cost_s())}")
    print(f"baseline   {spread(bare_s)}")
    print(f"processor  {seen.cpu_s() * 1000:.3f} ms of the controller for an attempt")
    print(f"difference of the medians {(cost_s - statistics.median(bare_s)) * 1000:.3f} ms")
    small, growth = highest < GOAL_MB, seen.rss_mb(1.0) - seen.rss_mb(0.1)
    print(f"goal: under {GOAL_MB:g} MB — {'yes' if small else 'no'}")
    flat = "yes" if growth < GOAL_GROWTH_MB else "no"
    print(f"goal: flat, growth of {growth:+.1f} under {GOAL_GROWTH_MB:g} MB — {flat}")
    quick = cost_s < GOAL_COST_S
    print(f"goal: median cost under {GOAL_COST_S * 1000:g} ms — {'yes' if quick else 'no'}")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attempts", type=int, default=20_000, help="default 20000")
    count = parser.parse_args().attempts
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with built_stack(folder, NAME, WORKER, MODELS) as (stack, env):
            audio_folder, other = folder / "audio", folder / "baseline.jsonl"
            audio_folder.mkdir()
            manifest, audio = write_snippets(audio_folder, count)
            bare_s = bare_trips(env, audio, count - count // 2, other)
            seen = watch(stack, manifest, folder / "results", count)
            bare_s += bare_trips(env, audio, count // 2, other)
    print_result(seen, bare_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
