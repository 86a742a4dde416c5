"""What there is to do for one model, and what its answers depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass

from orchestrator import paths
from orchestrator.audio.decode import decoder_version
from orchestrator.checkpoints import Checkpoint, fingerprint
from orchestrator.environments.choice import Chain
from orchestrator.environments.lock import Lock, read_lock
from orchestrator.environments.store import likely_minor
from orchestrator.errors import StackError
from orchestrator.machine import machine_identity
from orchestrator.run.options import RunOptions
from orchestrator.stacks import Model, Stack
from orchestrator.supervisor.environment import tuning
from schemas.messages import PROTOCOL
from schemas.records import Accelerator


@dataclass(frozen=True)
class ModelJob:
    """A model to run, with all that was found out about it beforehand."""

    stack: Stack
    model: Model
    checkpoint: Checkpoint


def chain_keys(job: ModelJob, chain: Chain, options: RunOptions) -> dict[Accelerator, str]:
    """Of each accelerator the key that its attempts have, also before its env is built."""
    found = {}
    for way in chain.ways:
        with contextlib.suppress(StackError):  # said when its turn comes
            lock = read_lock(job.stack, way)
            if lock:
                minor = likely_minor(job.stack, way.accelerator, lock)
                found[way.accelerator] = model_key(job, way.accelerator, lock, minor, options)
    return found


def model_key(
    job: ModelJob, accelerator: Accelerator, lock: Lock, minor: int, options: RunOptions
) -> str:
    """Hash of everything but the snippet that could change an answer."""
    model = job.model
    went_in = [
        model.name,
        str(job.checkpoint.path),
        fingerprint(job.checkpoint.path) if job.checkpoint.path else None,
        model.checkpoint,
        model.revision,
        model.options,
        model.transcribe_options,
        accelerator,
        lock.sha256,
        tuning(lock.variables),
        minor,
        job.stack.worker_sha256,
        *(hashlib.sha256(file.read_bytes()).hexdigest() for file in paths.HOST_FILES),
        PROTOCOL,
        decoder_version(),
        options.memory_limit_bytes,
        options.warm_up,
        options.batch,
        machine_identity(),  # times and memory of two machines do not belong into one table
    ]
    return hashlib.sha256(json.dumps(went_in, sort_keys=True, default=str).encode()).hexdigest()
