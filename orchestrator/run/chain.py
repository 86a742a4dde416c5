"""A model's accelerators, best first: the next one where an env, a load or a device fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

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
    by_accelerator = chain_keys(job, chain, options)
    keys = frozenset(by_accelerator.values())
    tried: list[str] = []

    def of_key(key: str) -> Deaths:
        return Deaths(one for one in held() if (one.model, one.key) == (job.model.name, key))

    done = done_by(one for one in held() if one.model == job.model.name and one.key in keys)
    for way, following in zip(chain.ways, [*chain.ways[1:], None], strict=True):
        better = chain.better(job.stack, way)
        fell_back = (*(f"{name}: {why}" for name, why in better.items()), *failed)
        turn = Turn(job, Use(way, following is None, fell_back, keys, done), options, recorder)
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
        tried.append(by_accelerator.get(way.accelerator, ""))
        died = turn.undone().union(*(of_key(key).ids() for key in tried))
        every = {task.id for task in pending_tasks(snippets, options.repeats, frozenset())}
        done = _whole_rows(every, (every if turn.started else done) - died)


def _whole_rows(every: set[TaskId], done: Iterable[TaskId]) -> frozenset[TaskId]:
    """Of what is done, the snippets of which each repeat is: a row is of one device."""
    done = frozenset(done)
    again = {snippet for snippet, _, _ in every - done}
    return frozenset(one for one in done if one[0] not in again)


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
