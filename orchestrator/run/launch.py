"""How a model's worker is started: by a run, and by a person who wants to see that again."""

from __future__ import annotations

from pathlib import Path

from orchestrator.environments.env import Env
from orchestrator.platforms import quoted
from orchestrator.run.jobs import ModelJob
from orchestrator.run.options import RunOptions
from orchestrator.supervisor.spec import WorkerSpec
from schemas.records import Accelerator


def worker_spec(job: ModelJob, env: Env, options: RunOptions) -> WorkerSpec:
    """What the supervisor needs to start this model's worker."""
    return WorkerSpec(
        python=env.python,
        env=env.folder,
        worker=job.stack.worker_address,
        options=job.model.options,
        transcribe_options=job.model.transcribe_options,
        checkpoint=job.checkpoint.path,
        device=env.accelerator,
        variables=env.variables,
        memory_limit_bytes=options.memory_limit_bytes,
        remote_code=job.model.remote_code,
    )


def replay_command(folder: Path, job: ModelJob, snippet: str | None, used: Accelerator) -> str:
    """The one command that does it again. used: the accelerator that it was on."""
    where = ["--accelerator", used] if job.stack.accelerators != (used,) else []
    words = ["asrbench", "replay", *where, "--", str(folder.resolve()), job.model.name]
    return quoted([*words, *([snippet] if snippet else [])])
