"""What a model needs before its first worker starts: an env, and its checkpoint in the cache."""

from __future__ import annotations

import contextlib

from orchestrator.accelerators import Way
from orchestrator.checkpoints import warm_cache
from orchestrator.environments.build import ensure_env, ensure_lock
from orchestrator.environments.env import Env
from orchestrator.environments.lock import Lock
from orchestrator.environments.locks import Say, use_env
from orchestrator.errors import AsrbenchError
from orchestrator.run.given_up import GivenUp, refuse_quarantined
from orchestrator.run.jobs import ModelJob, model_key
from orchestrator.run.options import RunOptions
from orchestrator.run.recorder import Recorder
from orchestrator.stacks import Stack


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
        env, lock = ready_env(stack, way, view.note, held)
    except AsrbenchError as error:
        raise GivenUp("failed", "env", str(error)) from error
    code = remote_code_note(job, options)
    if code:
        recorder.note_once(f"{name}: {code}")
    if job.checkpoint.path:
        view.stage(name, "reading its checkpoint")
        warm_cache(job.checkpoint.path)
    return env, model_key(job, way.accelerator, lock, env.minor, options)


def ready_env(stack: Stack, way: Way, say: Say, held: contextlib.ExitStack) -> tuple[Env, Lock]:
    """An env and the lock that it is of, built if it has to be, in use until held ends.

    Raises EnvError or StackError.
    """
    env = ensure_env(stack, way, say)
    lock = ensure_lock(stack, way, say)
    held.enter_context(use_env(env, say))
    return env, lock


def remote_code_note(job: ModelJob, options: RunOptions) -> str | None:
    """That a checkpoint's own code is run, and what says which code that is."""
    if not job.model.remote_code:
        return None
    by_hand = job.model.name in options.checkpoints
    pin = "given by hand, pinned by nothing" if by_hand else job.model.revision
    return f"runs code of its checkpoint ({pin})"
