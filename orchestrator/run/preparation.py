"""What a model needs before its first worker starts: an env, and its checkpoint in the cache."""

from __future__ import annotations

import contextlib

from orchestrator.accelerators import Way
from orchestrator.checkpoints import warm_cache
from orchestrator.environments.build import ensure_env, ensure_lock
from orchestrator.environments.env import Env
from orchestrator.environments.locks import use_env
from orchestrator.errors import AsrbenchError
from orchestrator.run.given_up import GivenUp, refuse_quarantined
from orchestrator.run.jobs import ModelJob, model_key
from orchestrator.run.options import RunOptions
from orchestrator.run.recorder import Recorder


def prepare_env(
    job: ModelJob, way: Way, options: RunOptions, recorder: Recorder, held: contextlib.ExitStack
) -> tuple[Env, str]:
    """The model's env, built if it has to be and in use until held ends, and the attempts' key.

    Raises GivenUp.
    """
    view, stack, name = recorder.view, job.stack, job.model.name
    view.stage(name, "preparing its env")
    try:
        refuse_quarantined(way.accelerator, recorder)
        env = ensure_env(stack, way, view.note)
        lock = ensure_lock(stack, way, view.note)
        held.enter_context(use_env(env, view.note))
    except AsrbenchError as error:
        raise GivenUp("failed", "env", str(error)) from error
    if job.model.remote_code:
        by_hand = name in options.checkpoints
        pin = "given by hand, pinned by nothing" if by_hand else job.model.revision
        recorder.note_once(f"{name}: runs code of its checkpoint ({pin})")
    if job.checkpoint.path:
        view.stage(name, "reading its checkpoint")
        warm_cache(job.checkpoint.path)
    return env, model_key(job, way.accelerator, lock, env.minor, options)
