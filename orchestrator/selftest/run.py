"""Runs every probe through the supervisor, each in a worker of its own."""

from __future__ import annotations

import contextlib
import datetime
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

import orchestrator
from orchestrator import paths
from orchestrator.accelerators import CPU
from orchestrator.audio.decode import Samples
from orchestrator.environments.build import ensure_env
from orchestrator.environments.env import Env
from orchestrator.environments.locks import use_env
from orchestrator.errors import UsageError
from orchestrator.machine import counters_identity
from orchestrator.selftest.probe_file import prepare_cache, probe_file
from orchestrator.selftest.probes import DEATHS, FOOTPRINTS, Death, Footprint
from orchestrator.selftest.record import DeathFound, FootprintFound, SelfTest
from orchestrator.selftest.verdicts import TOLERANCE, judge_death, judge_footprint
from orchestrator.stacks import Stack, read_stack
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.transcription import Recording
from orchestrator.supervisor.worker import Worker
from schemas.records import MemoryPeak, Outcome

DEFAULT_SIZE_MIB = 300
MIN_SIZE_MIB = 64  # with less, an interpreter's own comings and goings are over the tolerance
SHARE_OF_FREE = 4  # a file read from disk is there twice, and its process is not alone
MIN_LIMIT_BYTES = 256 << 20  # for a worker to be loaded under it, before it takes too much
TIMEOUT_S = 60.0
BASELINES = 3  # at most
QUIET, LOUD = np.zeros(1600, np.float32), np.ones(1600, np.float32)

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Bench:
    """What every probe needs."""

    stack: Stack
    env: Env
    size_bytes: int
    file: Path
    logs: Path


def run_selftest(size_mib: int | None, say: Say) -> SelfTest:
    """Every probe in turn. size_mib: None for as much as this machine can spare, up to 300.

    Raises EnvError if the probe's env cannot be built, UsageError if there is too little memory.
    """
    size_bytes = _size_mib(size_mib, say) << 20
    stack = read_stack(paths.PROBE_STACK)
    env = ensure_env(stack, CPU, say)
    with (
        use_env(env, say),
        probe_file(size_bytes) as file,
        tempfile.TemporaryDirectory(prefix="asrbench-selftest-") as logs,
    ):
        bench = _Bench(stack, env, size_bytes, file, Path(logs))
        footprints = tuple(_footprint(bench, one, say) for one in FOOTPRINTS)
        deaths = tuple(_death(bench, one, say) for one in DEATHS)
    return SelfTest(
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        asrbench=orchestrator.__version__,
        machine=counters_identity(),
        size_bytes=size_bytes,
        tolerance=TOLERANCE,
        footprints=footprints,
        deaths=deaths,
    )


def _size_mib(asked: int | None, say: Say) -> int:
    spare = psutil.virtual_memory().available // SHARE_OF_FREE >> 20
    if (asked or MIN_SIZE_MIB) > spare:
        raise UsageError(
            f"only {spare * SHARE_OF_FREE} MiB of memory are free, and footprints of "
            f"{asked or MIN_SIZE_MIB} MiB need {SHARE_OF_FREE} times their size: close programs"
            + (", or test with less: --size" if asked and asked > MIN_SIZE_MIB else "")
        )
    if asked is None and spare < DEFAULT_SIZE_MIB:
        say(f"little memory is free: footprints of {spare} MiB, not {DEFAULT_SIZE_MIB}")
    return asked or min(spare, DEFAULT_SIZE_MIB)


def _footprint(bench: _Bench, footprint: Footprint, say: Say) -> FootprintFound:
    lacking = footprint.cannot_run()
    if lacking:
        return FootprintFound(
            name=footprint.name, what=footprint.what, verdict="not run", why=lacking
        )
    say(f"{footprint.name}: {footprint.what}")
    try:
        peaks = _peaks(bench, footprint)
    except WorkerFault as fault:
        return _unmeasured(footprint, f"its worker {fault.outcome}: {fault.message}")
    baseline, total, own = peaks
    if baseline is None or total is None or own is None:
        return _unmeasured(footprint, "no counter said anything")
    return judge_footprint(footprint, bench.size_bytes, baseline, total, own)


def _unmeasured(footprint: Footprint, why: str) -> FootprintFound:
    return FootprintFound(name=footprint.name, what=footprint.what, verdict="wrong", why=why)


def _peaks(
    bench: _Bench, footprint: Footprint
) -> tuple[MemoryPeak | None, MemoryPeak | None, MemoryPeak | None]:
    """Of the attempt with nothing in it; then with it: of the worker and of the attempt."""
    with _worker(bench, footprint.name, footprint.act, footprint.hold_s) as worker:
        worker.load(TIMEOUT_S)
        baseline = _baseline(worker)
        prepare_cache(bench.file, footprint.cache)
        worker.begin_memory_window()
        _attempt(worker, LOUD, TIMEOUT_S)
        return baseline, worker.memory(), worker.attempt_memory()


def _baseline(worker: Worker) -> MemoryPeak | None:
    """With nothing held. The lowest of three, if each may be too high by the load's page cache."""
    quiet = []
    for _ in range(BASELINES):
        worker.begin_memory_window()
        _attempt(worker, QUIET, TIMEOUT_S)
        peak = worker.attempt_memory()
        if peak is None or peak.bound not in ("upper", "unknown"):
            return peak
        quiet.append(peak)
    return min(quiet, key=lambda peak: peak.peak_bytes)


def _death(bench: _Bench, death: Death, say: Say) -> DeathFound:
    say(f"{death.name}: {death.what}")
    limit_bytes = max(bench.size_bytes, MIN_LIMIT_BYTES) if death.limited else None
    outcome: Outcome = "ok"
    stack = memory = None
    with _worker(bench, death.name, death.act, 0.0, limit_bytes) as worker:
        try:
            worker.load(TIMEOUT_S)
            said = _attempt(worker, LOUD, death.timeout_s)
        except WorkerFault as fault:
            outcome = fault.outcome
            # of one that died, what follows the first line are the last lines of its log
            said = fault.message if fault.alive else fault.message.partition("\n")[0]
            stack = worker.crash(fault, bench.env.lock_sha256, "asrbench selftest").stack
            memory = worker.memory()
    log = (bench.logs / f"{death.name}.log").read_text(encoding="utf-8", errors="replace")
    return judge_death(death, outcome, said, stack, memory.bound if memory else None, log)


@contextlib.contextmanager
def _worker(
    bench: _Bench, name: str, act: str, hold_s: float, limit_bytes: int | None = None
) -> Iterator[Worker]:
    spec = WorkerSpec(
        python=bench.env.python,
        env=bench.env.folder,
        worker=bench.stack.worker_address,
        options={},
        transcribe_options={
            "act": act,
            "size_bytes": limit_bytes or bench.size_bytes,
            "file": str(bench.file),
            "hold_s": hold_s,
        },
        checkpoint=None,
        device=bench.env.accelerator,
        memory_limit_bytes=limit_bytes,
    )
    worker = Worker(spec, bench.logs / f"{name}.log")
    try:
        yield worker
    finally:
        worker.close()


def _attempt(worker: Worker, audio: Samples, timeout_s: float) -> str:
    probe = Recording("probe", iter([audio]), len(audio))
    result = worker.transcribe(probe, timeout_s, lambda _: None)
    return result.text
