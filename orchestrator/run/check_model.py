"""Whether one model works on this machine, step by step: the way of a run, without a run.

The next accelerator has no turn here, as in a run: which one fails, and why, is what is asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator import paths
from orchestrator.accelerators import Way
from orchestrator.checkpoints import warm_cache
from orchestrator.environments.choice import choose
from orchestrator.environments.lock import read_lock
from orchestrator.environments.store import find_env
from orchestrator.errors import AsrbenchError, EnvError, UsageError, unknown_name
from orchestrator.run import check_advice
from orchestrator.run.check_advice import Circumstances
from orchestrator.run.check_steps import Checked, CheckpointFound, EnvFound, Step
from orchestrator.run.check_trial import AT_WORK, Ready, Trial
from orchestrator.run.jobs import ModelJob
from orchestrator.run.options import RunOptions
from orchestrator.run.orchestrate import prepare
from orchestrator.run.preparation import ready_env, remote_code_note
from orchestrator.snippets.snippet import Snippet

SNIPPETS = paths.SHIPPED_SNIPPETS / "clean"
RECORDING = "soup-recipe"  # two channels at 44.1 kHz; no word is cut in two after 3 s

Say = Callable[[str], None]
Tell = Callable[[Step], None]


def check_model(options: RunOptions, say: Say, tell: Tell) -> Checked:
    """The one model that options name. tell: hears of each step as it ends.

    Raises UsageError for what cannot be what was meant; anything else is a step's trouble.
    """
    job, snippet = _what_was_meant(options)
    steps: list[Step] = []

    def done(step: Step) -> Step:
        steps.append(step)
        tell(step)
        return step

    with contextlib.ExitStack() as held:
        here = Circumstances(job, options)
        ready, env_step, here = _env(here, say, held)
        done(env_step)
        files = done(_checkpoint(here)).found
        if ready and isinstance(files, CheckpointFound):
            if files.path:
                say(f"{job.model.name}: reading its checkpoint")
                warm_cache(files.path)
            Trial(here, ready, files, snippet).run(done)
        else:
            for name in AT_WORK:
                done(Step(name))
    log = ready.log if ready and _has_prints(ready.log) else None
    return Checked(job.model.name, job.stack.name, options.accelerator, tuple(steps), log)


def _what_was_meant(options: RunOptions) -> tuple[ModelJob, Snippet]:
    prepared = prepare(options)
    if len(prepared.jobs) != 1:
        raise UsageError("one model is checked at a time; see asrbench models list")
    (job,) = prepared.jobs
    if job.checkpoint.problem and job.model.name in options.checkpoints:
        raise UsageError(job.checkpoint.problem)
    by_name = {snippet.name: snippet for snippet in prepared.snippets}
    if RECORDING not in by_name:
        raise unknown_name(f"recording below {options.snippets}", RECORDING, by_name)
    return job, by_name[RECORDING]


def _env(
    here: Circumstances, say: Say, held: contextlib.ExitStack
) -> tuple[Ready | None, Step, Circumstances]:
    """The env of the best accelerator. Also what is known then of the circumstances."""
    stack = here.job.stack
    try:
        chain = choose(stack, here.options.accelerator)
        way = chain.first
        here = replace(here, way=way, others=chain.ways[1:])
        there_already = _is_built(here.job, way)
        env, _ = ready_env(stack, way, say, held)
        ready = Ready(env, _fresh_log(here.job))
    except AsrbenchError as error:
        return None, Step("env", trouble=check_advice.of_env(error, here)), here
    found = EnvFound(
        folder=env.folder,
        accelerator=env.accelerator,
        target=env.target,
        python=env.python_version,
        built_now=not there_already,
        build_s=env.build_s,
        not_used=chain.better(stack, way),
    )
    return ready, Step("env", found), here


def _is_built(job: ModelJob, way: Way) -> bool:
    lock = read_lock(job.stack, way)
    return lock is not None and find_env(job.stack, way.accelerator, lock) is not None


def _fresh_log(job: ModelJob) -> Path:
    log = paths.envs_home() / "logs" / f"{job.stack.name}-check-{job.model.name}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
    except OSError as error:
        raise EnvError(f"cannot write {log}: {error.strerror}; set ASRBENCH_HOME") from error
    return log


def _checkpoint(here: Circumstances) -> Step:
    checkpoint, used = here.job.checkpoint, here.job.checkpoint.used
    if checkpoint.problem:
        return Step("checkpoint", trouble=check_advice.of_checkpoint(here))
    note = remote_code_note(here.job, here.options)
    found = CheckpointFound(None, "none needed")
    if used:
        found = CheckpointFound(checkpoint.path, used.proof, used.verified_at)
    return Step("checkpoint", found, remarks=(note,) if note else ())


def _has_prints(log: Path) -> bool:
    """Whether more is in it than the line that says when the worker started."""
    try:
        with log.open("rb") as file:
            return bool(file.readline() and file.readline())
    except OSError:  # it never started
        return False
