"""Measure what host and supervisor add to moving 30 s of audio through a pipe.

    python scripts/bench_pipe.py [--pairs 200] [--warm-up 20]

Two round trips over the same bytes, 480,000 samples of float32 (16 kHz mono), are timed in
interleaved pairs by the controller's clock:

raw       the baseline. A child of the env's interpreter reads that many bytes from stdin into one
          preallocated buffer (readinto, unbuffered) and answers with a short line. The parent
          calls os.write until all is gone and reads the line. No framing and no check at all. The
          pipe has the size that asrbench gives its own.
asrbench  the real thing. A stack is written to a temporary folder, as a third party would, its
          env is built by ensure_env, and Worker.transcribe hands the audio over in blocks of
          audio.BLOCK_S. Its transcribe() returns a constant text at once. The time includes
          frames, checks on both sides, a fresh buffer, validation, threads and queue.

Both children stay alive from the first pair to the last. Waking a process on another, sleeping
processor can cost more than the work itself, and the scheduler may place the two sides
differently; so on Linux all is measured a second time with every process on one processor,
where only the work counts. The goal is a ratio of the medians below 2.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from bench_stack import built_stack

from orchestrator.audio.decode import BLOCK_S, Samples
from orchestrator.environments.env import Env
from orchestrator.stacks import Stack
from orchestrator.supervisor.environment import worker_environment
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.transcription import Recording, Transcribed
from orchestrator.supervisor.worker import Worker
from schemas.messages import SAMPLE_RATE_HZ

AUDIO_S = 30
GOAL = 2.0
TIMEOUT_S = 60.0
REPLY = b"constant text\n"

NAME = "bench-pipe"
MODELS = f"[tool.asrbench.models.{NAME}]\n"
WORKER = """\
def load(checkpoint, device):
    return None


def transcribe(model, audio):
    return "constant text"
"""
RAW_CHILD = f"""\
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
    os.write(1, {REPLY!r})
"""


Trip = tuple[float, Transcribed]


@contextmanager
def raw_pipe(env: Env, audio: Samples) -> Iterator[Callable[[], float]]:
    """A function that does one raw round trip and returns its seconds."""
    data = memoryview(audio.data).cast("B")
    command = [str(env.python), "-I", "-B", "-X", "utf8", "-c", RAW_CHILD, str(len(data))]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env=worker_environment(Path(tempfile.gettempdir())),
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        stdin, stdout = child.stdin, child.stdout
        if sys.platform == "linux":
            import fcntl

            from orchestrator.platforms.linux import PIPE_BYTES

            fcntl.fcntl(stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

        def round_trip() -> float:
            start = time.perf_counter()
            left = data
            while left:
                left = left[stdin.write(left) :]  # unbuffered: one os.write
            reply = stdout.read(len(REPLY))
            took_s = time.perf_counter() - start
            assert reply == REPLY
            return took_s

        yield round_trip
        stdin.close()


@contextmanager
def asrbench_pipe(
    stack: Stack, env: Env, audio: Samples, log: Path
) -> Iterator[Callable[[], Trip]]:
    """A function that does one Worker.transcribe and returns its seconds and its result."""
    step = round(BLOCK_S * SAMPLE_RATE_HZ)
    blocks = [audio[start : start + step] for start in range(0, len(audio), step)]
    spec = WorkerSpec(
        python=env.python,
        env=env.folder,
        worker=stack.worker_address,
        options={},
        transcribe_options={},
        checkpoint=None,
        device="cpu",
    )
    worker = Worker(spec, log)
    try:
        worker.load(TIMEOUT_S)

        def round_trip() -> Trip:
            start = time.perf_counter()
            recording = Recording("audio", iter(blocks), len(audio))
            result = worker.transcribe(recording, TIMEOUT_S, lambda _: None)
            took_s = time.perf_counter() - start
            assert result.text == REPLY.decode().strip()
            return took_s, result

        yield round_trip
        worker.end()
    finally:
        worker.close()


def measure(
    raw: Callable[[], float], asrbench: Callable[[], Trip], pairs: int, warm_up: int
) -> list[tuple[float, Trip]]:
    """Raw, asrbench, raw, asrbench, …; the first warm_up pairs are thrown away."""
    return [(raw(), asrbench()) for _ in range(warm_up + pairs)][warm_up:]


def crc_seconds(audio: Samples) -> float:
    """One CRC-32 over all bytes."""
    data = memoryview(audio.data).cast("B")
    return statistics.median(timeit.repeat(lambda: zlib.crc32(data), repeat=20, number=1))


def spread(times_s: list[float]) -> str:
    """Median and the middle half."""
    low, middle, high = (1000 * cut for cut in statistics.quantiles(times_s, n=4))
    return f"{middle:.3f} ms (middle half {low:.3f} … {high:.3f})"


def print_result(placement: str, pairs: list[tuple[float, Trip]], crc_s: float) -> None:
    """Both medians, both ratios, the goal, and where the time goes."""
    raw_s = [raw_s for raw_s, _ in pairs]
    asrbench_s = [trip_s for _, (trip_s, _) in pairs]
    ratio = statistics.median(asrbench_s) / statistics.median(raw_s)
    paired = statistics.median(trip_s / raw_s for raw_s, (trip_s, _) in pairs)
    print(f"--- {placement}, {len(pairs)} pairs")
    print(f"raw        {spread(raw_s)}")
    print(f"asrbench   {spread(asrbench_s)}, of which:")
    print(f"  hand over     {spread([trip_s - result.time_s for _, (trip_s, result) in pairs])}")
    print(f"  answer        {spread([result.time_s for _, (_, result) in pairs])}")
    print(f"  transcribe()  {spread([result.infer_s for _, (_, result) in pairs])}")
    print(f"for comparison, one CRC-32 over the audio: {crc_s * 1000:.3f} ms")
    print(f"ratio of medians {ratio:.2f}, median of paired ratios {paired:.2f}")
    print(f"goal: under {GOAL:g}x — {'yes' if ratio < GOAL else 'no'}")


def placements() -> Iterator[str]:
    """Where the processes run; children and later threads inherit it from this thread."""
    yield "placed by the system"
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        yield "all on one processor"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=200, help="timed pairs (default 200)")
    parser.add_argument("--warm-up", type=int, default=20, help="pairs left out (default 20)")
    arguments = parser.parse_args()
    audio = np.random.default_rng(0).uniform(-1, 1, AUDIO_S * SAMPLE_RATE_HZ).astype(np.float32)
    print(f"round trip of {AUDIO_S} s of audio, {audio.nbytes:,} bytes")
    print("raw       os.write → readinto one preallocated buffer → a short line back")
    print("asrbench  Worker.transcribe → checked frames → host → a worker that returns a constant")
    with (
        tempfile.TemporaryDirectory() as name,
        built_stack(Path(name), NAME, WORKER, MODELS) as (stack, env),
    ):
        for placement in placements():
            with (
                raw_pipe(env, audio) as raw,
                asrbench_pipe(stack, env, audio, Path(name) / "worker.log") as asrbench,
            ):
                pairs = measure(raw, asrbench, arguments.pairs, arguments.warm_up)
            print_result(placement, pairs, crc_seconds(audio))
    return 0


if __name__ == "__main__":
    sys.exit(main())
