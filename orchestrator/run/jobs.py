"""What there is to do for one model, and what its answers depend on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from orchestrator import paths
from orchestrator.audio.decode import decoder_version
from orchestrator.checkpoints import Checkpoint, fingerprint
from orchestrator.environments.env import Env
from orchestrator.machine import machine_identity
from orchestrator.run.options import RunOptions
from orchestrator.stacks import Model, Stack
from orchestrator.supervisor.environment import tuning
from schemas.messages import PROTOCOL


@dataclass(frozen=True)
class ModelJob:
    """A model to run, with all that was found out about it beforehand."""

    stack: Stack
    model: Model
    checkpoint: Checkpoint


def model_key(job: ModelJob, env: Env, options: RunOptions) -> str:
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
        env.accelerator,
        env.lock_sha256,
        tuning(env.variables),
        env.python_version,
        job.stack.worker_sha256,
        *(hashlib.sha256(file.read_bytes()).hexdigest() for file in paths.HOST_FILES),
        PROTOCOL,
        decoder_version(),
        options.memory_limit_bytes,
        options.warm_up,
        machine_identity(),  # times and memory of two machines do not belong into one table
    ]
    return hashlib.sha256(json.dumps(went_in, sort_keys=True, default=str).encode()).hexdigest()
