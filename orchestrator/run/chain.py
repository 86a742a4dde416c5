"""A model's accelerators, best first: the next one where an env, a load or a device fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.environments.choice import choose
from orchestrator.errors import AsrbenchError
from orchestrator.run.given_up import GivenUp
from orchestrator.run.jobs import ModelJob, chain_keys
from orchestrator.run.options import RunOptions
from orchestrator.run.recorder import Recorder, now
from orchestrator.run.tasks import Deaths, TaskId, done_by, pending_tasks
from orchestrator.run.turn import Turn, Use
from orchestrator.snippets.snippet import Snippet
from schemas.records import Attempt, ModelFailed, WorkerEnded

Held = Callable[[], Iterable[Attempt]]
MAX_REASON_CHARS = 300  # it is in the row of every snippet


def run_model(
    job: ModelJob,
    snippets: Sequence[Snippet],
    held: Held,
    options: RunOptions,
    recorder: Recorder,
) -> None:
    """All snippets on one model. Every way in which it can end is in the journal afterwards.

    held: attempts of the run that is resumed; those that still hold are not made again.
    """
    name, failure = job.model.name, None
    try:
        _run_chain(job, snippets, held, options, recorder)
    except GivenUp as given_up:
        failure = ModelFailed(
            at=now(),
            model=name,
            outcome=given_up.outcome,
            phase=given_up.phase,
            error=given_up.error,
            crash=given_up.crash,
        )
        recorder.journal.append(failure)
    recorder.view.model_ends(name, failure)


def _run_chain(
    job: ModelJob,
    snippets: Sequence[Snippet],
    held: Held,
    options: RunOptions,
    recorder: Recorder,
) -> None:
    if job.checkpoint.missing:
        raise GivenUp("failed", "download", f"{job.model.name}: {job.checkpoint.missing}")
    try:
        chain = choose(job.stack, options.accelerator)
    except AsrbenchError as error:
        raise GivenUp("failed", "env", str(error)) from error
    failed: list[str] = []
    keys = chain_keys(job, chain, options)
    every = {task.id for task in pending_tasks(snippets, options.repeats, frozenset())}
    done = {
        task: one.key
        for one in held()
        if one.model == job.model.name and one.key in keys.values()
        for task in done_by([one]) & every
    }

    def of_key(key: str) -> Deaths:
        return Deaths(one for one in held() if (one.model, one.key) == (job.model.name, key))

    for way, following in zip(chain.ways, [*chain.ways[1:], None], strict=True):
        better = chain.better(job.stack, way)
        fell_back = (*(f"{name}: {why}" for name, why in better.items()), *failed)
        done = _rows_of_one_device(every, done, keys.get(way.accelerator))
        use = Use(way, following is None, fell_back, frozenset(keys.values()), frozenset(done))
        turn = Turn(job, use, options, recorder)
        try:
            with contextlib.ExitStack() as stack:
                turn.run(snippets, of_key, stack)
            return
        except GivenUp as given_up:
            if following is None:
                if failed:
                    given_up.error += "\nbefore it: " + "\n".join(failed)
                raise
            failed.append(_reason(way.accelerator, given_up))
            _tell(job, given_up, f"{failed[-1]}; goes on with {following.accelerator}", recorder)
        if turn.key:  # it may be another one than was expected, as of a stack without a lock
            keys[way.accelerator] = turn.key
            done = dict.fromkeys(every - turn.undone(), turn.key) | done
        died = turn.undone() | of_key(keys.get(way.accelerator, "")).ids()
        done = {task: key for task, key in done.items() if task not in died}


def _rows_of_one_device(
    every: set[TaskId], done: Mapping[TaskId, str], own: str | None
) -> dict[TaskId, str]:
    """Of what is done: whole rows of one device, and of the others what own has answered.

    With --repeat, a row of which another device has answered but a part is made again.
    """
    devices: dict[str, set[str | None]] = {}
    for task in every:
        devices.setdefault(task[0], set()).add(done.get(task))
    whole = {snippet for snippet, keys in devices.items() if len(keys) == 1 and None not in keys}
    return {task: key for task, key in done.items() if task[0] in whole or key == own}


def _reason(accelerator: str, given_up: GivenUp) -> str:
    line = given_up.error.partition("\n")[0]
    return f"{accelerator}: {given_up.phase}: {line}"[:MAX_REASON_CHARS]


def _tell(job: ModelJob, given_up: GivenUp, text: str, recorder: Recorder) -> None:
    recorder.view.note(f"{job.model.name}: {text}")
    if given_up.phase in ("spawn", "load"):  # no row holds it
        recorder.journal.append(
            WorkerEnded(
                at=now(),
                model=job.model.name,
                outcome=given_up.outcome,
                phase=given_up.phase,
                after=None,
                error=given_up.error,
                crash=given_up.crash,
            )
        )
