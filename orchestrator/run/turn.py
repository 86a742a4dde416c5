"""One model's turn on one accelerator: its env, its workers one after the other, its crashes.

One snippet or one batch after the other: parallel work would spoil the times.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.accelerators import Way
from orchestrator.environments.env import Env
from orchestrator.run.batches import Batches
from orchestrator.run.given_up import GivenUp, quarantine, refuse_quarantined
from orchestrator.run.jobs import ModelJob
from orchestrator.run.launch import replay_command, worker_spec
from orchestrator.run.live_worker import LiveWorker
from orchestrator.run.options import RunOptions
from orchestrator.run.preparation import prepare_env
from orchestrator.run.recorder import Recorder, now
from orchestrator.run.tasks import Deaths, Task, TaskId, pending_tasks, shortest
from orchestrator.run.together import Together
from orchestrator.snippets.snippet import Snippet
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.environment import tuning
from orchestrator.supervisor.isolation import notes as isolation_notes
from orchestrator.supervisor.worker import Worker
from schemas.records import (
    Attempt,
    Crash,
    Isolation,
    ModelStarted,
    Outcome,
    Phase,
    WorkerEnded,
)


@dataclass(frozen=True)
class Use:
    """One accelerator's turn, and what those before it left."""

    way: Way
    last: bool = True  # no other one comes after it
    fell_back: tuple[str, ...] = ()  # which better ones are not used, and why
    keys: frozenset[str] = (
        frozenset()
    )  # of all of the model's accelerators: what they answered holds
    done: frozenset[TaskId] = frozenset()  # what has an attempt, and need not be tried here


class Turn:
    """Made for one run()."""

    def __init__(self, job: ModelJob, use: Use, options: RunOptions, recorder: Recorder) -> None:
        self._job = job
        self._name = job.model.name
        self._use = use
        self.key: str | None = None  # of its attempts, when it came so far that it has tasks
        self._tasks: list[Task] = []
        self._deaths = Deaths(())
        self._options = options
        self._recorder = recorder
        self._live: LiveWorker | None = None
        self._crashes = 0  # in a row
        self._warm_up = options.warm_up
        self._log = recorder.logs / f"{job.model.name}.log"

    def run(
        self,
        snippets: Sequence[Snippet],
        mine: Callable[[str], Deaths],
        stack: contextlib.ExitStack,
    ) -> None:
        """All that has no answer yet. Raises GivenUp.

        mine: of the run that is resumed, by key. stack: what is kept until the end.
        """
        env, key = prepare_env(self._job, self._use.way, self._options, self._recorder, stack)
        self._recorder.journal.append(
            ModelStarted(
                at=now(),
                model=self._name,
                key=key,
                accelerator=env.accelerator,
                env=env.folder.name,
                lock_sha256=env.lock_sha256,
                checkpoint=self._job.checkpoint.used,
                variables=tuning(env.variables),
                fell_back=self._use.fell_back,
                keeps=tuple(sorted(self._use.keys - {key})),
            )
        )
        most_faults = self._options.max_crashes
        batches = Batches(self._options.batch, env.accelerator, most_faults)
        pending = pending_tasks(snippets, self._options.repeats, self._use.done)
        tasks = self._tasks = batches.in_order(pending)
        self._together = Together(batches, self._name, key, self._recorder, most_faults)
        deaths = self._deaths = mine(key)
        self.key = key
        pending_s = sum(task.snippet.duration_s or 0.0 for task in tasks)
        self._recorder.view.model_begins(self._name, len(tasks), pending_s)
        try:
            self._first_tries(tasks, deaths, env, key)
            self._stop()
            options = self._options
            while suspects := deaths.retry_tasks(snippets, options.retries, options.repeats):
                for task in suspects:
                    deaths.note(self._alone(task, env, key))
        finally:
            self._drop()
        if deaths.ids() and not self._use.last:
            raise self._died_of(deaths)

    def undone(self) -> set[TaskId]:
        """What has no answer after run() raised, and what took its worker down."""
        return {task.id for task in self._tasks} | self._deaths.ids()

    def _died_of(self, deaths: Deaths) -> GivenUp:
        outcome, phase, error = deaths.last_words()
        count = len(deaths.ids())
        return GivenUp(outcome, phase, f"{count} tries took its worker down; the last: {error}")

    def _first_tries(self, tasks: list[Task], deaths: Deaths, env: Env, key: str) -> None:
        while tasks:
            live = self._ready(env, key)
            if not live.warm and self._warm_up:
                task = shortest(tasks)
                attempt = self._try(live, task, warm_up=True)
            elif len(batch := self._together.next(live, tasks)) > 1:
                self._try_together(live, batch, tasks, deaths)
                continue
            else:
                task = tasks[0]
                attempt = self._try(live, task)
            if attempt.warm_up:
                continue
            deaths.note(attempt)
            tasks.remove(task)
            if self._crashes >= self._options.max_crashes and (tasks or not self._use.last):
                raise self._given_up(attempt.outcome, attempt.phase, attempt.error or "")

    def _try_together(
        self, live: LiveWorker, batch: list[Task], tasks: list[Task], deaths: Deaths
    ) -> None:
        names = ", ".join(task.snippet.name for task in batch)
        what = f"{len(batch)} at once ({names})"
        try:
            attempts = self._together.attempts(live, batch)
            self._crashes = 0
            for task, attempt in zip(batch, attempts, strict=True):
                deaths.note(attempt)
                tasks.remove(task)
            what = f"one by one, to compare with a batch ({names})"
            self._together.check(live, batch, attempts)
        except WorkerFault as fault:
            if not fault.alive:
                self._record_end(live.ended_at(what, fault))
                self._drop()

    def _alone(self, task: Task, env: Env, key: str) -> Attempt:
        """A suspect in a worker that has seen nothing else."""
        self._recorder.view.stage(self._name, f"trying {task.snippet.name} again, alone")
        self._crashes = 0
        attempt = self._try(self._ready(env, key), task)
        self._stop()
        return attempt

    def _try(self, live: LiveWorker, task: Task, warm_up: bool = False) -> Attempt:
        attempt, alive = live.attempt(task, warm_up)
        attempt = self._together.remarked(attempt, task)
        self._recorder.journal.append(attempt)
        if not attempt.warm_up:
            self._recorder.view.attempt(attempt)
        if not alive:
            self._crashes += 1
            self._drop()
        elif not attempt.warm_up:
            self._crashes = 0
        return attempt

    def _ready(self, env: Env, key: str) -> LiveWorker:
        """The worker if it is in order, else a fresh one."""
        if self._live:
            ended = self._live.ended_idle()
            if ended is None:
                return self._live
            self._record_end(ended)
            self._crashes += 1
            if self._live.tried == 1 and self._warm_up:  # it would never come to a real attempt
                self._warm_up = False
                self._recorder.view.note(f"{self._name}: goes on without warm-up")
            self._drop()
            if self._crashes >= self._options.max_crashes:
                raise self._given_up(ended.outcome, ended.phase, ended.error)
        self._live = self._load(env, key)
        return self._live

    def _load(self, env: Env, key: str) -> LiveWorker:
        """A fresh worker with its model; tried again only after a crash."""
        while True:
            refuse_quarantined(env.accelerator, self._recorder)
            self._recorder.view.stage(self._name, "loading")
            worker = None
            try:
                worker = Worker(worker_spec(self._job, env, self._options), self._log)
                times = worker.load(self._options.load_timeout_s)
                self._tell_isolation(worker.trace(self._options.load_timeout_s))
                live = LiveWorker(worker, times, self._job, env, key, self._options, self._recorder)
            except WorkerFault as fault:
                self._crashes += 1
                self._judge_load(fault, worker, env)
                continue
            except BaseException:
                if worker:
                    worker.close()
                raise
            self._recorder.view.stage(self._name, "transcribing")
            return live

    def _tell_isolation(self, isolation: Isolation) -> None:
        refused = isolation.network.partition(": ")[2]
        if refused:
            self._recorder.note_once(f"workers can reach the network: {refused}")
        for text in isolation_notes(isolation):
            self._recorder.note_once(f"{self._name}: {text}")

    def _judge_load(self, fault: WorkerFault, worker: Worker | None, env: Env) -> None:
        """Close the worker, and raise GivenUp unless it is worth another try."""
        phase: Phase = worker.phase if worker else "spawn"
        crash = None
        if worker:
            if not fault.alive:
                command = replay_command(self._recorder.folder, self._job, None, env.accelerator)
                crash = worker.crash(fault, env.lock_sha256, command)
            self._quarantine(worker.close())
        message = fault.message
        if phase == "spawn":  # no model is to blame before the host's hello
            message += f"\nIs its env broken? asrbench env rebuild {self._job.stack.name}"
        if fault.outcome != "crashed":
            raise GivenUp(fault.outcome, phase, message, crash) from fault
        if self._crashes >= self._options.max_crashes:
            raise self._given_up(fault.outcome, phase, message, crash) from fault
        self._record_end(
            WorkerEnded(
                at=now(),
                model=self._name,
                outcome=fault.outcome,
                phase=phase,
                after=None,
                error=message,
                crash=crash,
            )
        )

    def _given_up(
        self, outcome: Outcome, phase: Phase, last: str, crash: Crash | None = None
    ) -> GivenUp:
        count = f"given up after {self._crashes} crashes in a row"
        return GivenUp(outcome, phase, f"{count}; the last: {last}", crash)

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live:
            ended, left = live.stop()
            if ended:
                self._record_end(ended)
            self._quarantine(left)

    def _drop(self) -> None:
        live, self._live = self._live, None
        if live:
            self._quarantine(live.drop())

    def _quarantine(self, left: str | None) -> None:
        quarantine(left, self._use.way.accelerator, self._name, self._recorder)

    def _record_end(self, ended: WorkerEnded) -> None:
        self._recorder.journal.append(ended)
        self._recorder.view.note(f"{self._name}: {ended.phase}: {ended.error}")
