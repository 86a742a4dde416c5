"""A worker with its model loaded: tries snippets, alone or in batches, and records each try."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from orchestrator.audio.decode import DecodedFacts
from orchestrator.environments.env import Env
from orchestrator.errors import AudioError
from orchestrator.run.attempts import batch_of, of_batch, undecoded
from orchestrator.run.device_loss import lost_device
from orchestrator.run.jobs import ModelJob
from orchestrator.run.launch import replay_command
from orchestrator.run.options import RunOptions
from orchestrator.run.recorder import Recorder, now
from orchestrator.run.recordings import clock_notes, notes_on, recording
from orchestrator.run.surroundings import FRESH_S, Surroundings
from orchestrator.run.tasks import Task
from orchestrator.snippets.snippet import Snippet
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.transcription import Transcribed
from orchestrator.supervisor.worker import Worker
from schemas.messages import SAMPLE_RATE_HZ
from schemas.records import Attempt, Batch, Crash, LoadTimes, Phase, WorkerEnded

MAX_NAMES_CHARS = 2_000  # a batch may have many snippets


class LiveWorker:
    """Built by start(); at its end either stop() or drop()."""

    def __init__(
        self,
        worker: Worker,
        times: LoadTimes,
        job: ModelJob,
        env: Env,
        key: str,
        options: RunOptions,
        recorder: Recorder,
    ) -> None:
        self.tried = 0
        self.warm = False  # it has answered once
        self._measured_before = 0
        self._window_began = float("-inf")
        self._worker = worker
        try:
            self._surroundings = Surroundings(worker)
        except RuntimeError as error:  # no thread, below a limit of processes
            worker.phase = "load"
            said = f"worker cannot be watched: {error}"
            raise WorkerFault("failed", said, alive=True) from error
        self._times = times
        self._job = job
        self._env = env
        self._key = key
        self._options = options
        self._recorder = recorder
        self._last: str | None = None

    @property
    def takes_batches(self) -> bool:
        """Whether attempt_together() may be called."""
        return self._worker.batches

    def attempt(self, task: Task, warm_up: bool = False) -> tuple[Attempt, bool]:
        """One try, and whether the worker can take the next one."""
        snippet, worker, facts = task.snippet, self._worker, DecodedFacts()
        self.tried += 1
        self._last = snippet.name
        attempt = self._empty(task)
        partials: list[str] = []
        self._begin()

        def on_partial(text: str) -> None:
            partials[:] = [text]
            self._recorder.view.partial(attempt.model, snippet.name, text)

        try:
            result = worker.transcribe(
                recording(snippet, facts),
                self._options.attempt_timeout_s(snippet.duration_s),
                on_partial,
            )
        except AudioError as error:  # the worker has heard nothing
            self.tried -= 1
            return undecoded(attempt, error), True
        except WorkerFault as fault:
            self._measured_before += 1  # a warm-up that fails is recorded as measured
            self._judge(fault)
            said = (f"text before it ended: {partials[0]}",) if partials else ()
            return self._faulty(attempt, fault, said), fault.alive
        self._measured_before += not warm_up
        was_warm, self.warm = self.warm, True
        measured = self._measured_with_next()
        notes = (*self._notes_on(snippet, facts), *clock_notes(result))
        if task.retry:
            notes += ("tried again alone, in a fresh worker: its time is without warm-up",)
        elif self._options.warm_up and not was_warm and not warm_up:
            notes += ("the worker's first answer: its time is without warm-up",)
        update: dict[str, Any] = {
            "warm_up": warm_up,
            "text": result.text,
            "time_s": result.time_s,
            "infer_s": result.infer_s,
            "audio_s": facts.samples / SAMPLE_RATE_HZ,
            "details": result.details,
            "notes": notes + measured.pop("notes"),
        }
        return attempt.model_copy(update=measured | update), True

    def attempt_together(self, tasks: Sequence[Task]) -> list[Attempt]:
        """One try of each, all at once. Raises WorkerFault, which is of no one snippet."""
        facts = [DecodedFacts() for _ in tasks]
        snippets = [task.snippet for task in tasks]
        self._last = snippets[-1].name
        self._begin()
        try:
            results = self._worker.transcribe_together(
                [recording(*one) for one in zip(snippets, facts, strict=True)],
                self._options.attempt_timeout_s(*(one.duration_s for one in snippets)),
            )
        except WorkerFault as fault:
            self._judge(fault)
            raise
        measured, batch = self._measured_with_next(), batch_of(results, facts)
        self.tried += bool(batch.size)
        attempts = [
            self._of_batch(task, result, fact, batch, measured)
            for task, result, fact in zip(tasks, results, facts, strict=True)
        ]
        self._measured_before += batch.size
        self.warm = self.warm or bool(batch.size)
        return attempts

    def text_alone(self, snippet: Snippet) -> str | None:
        """Unmeasured; None if it cannot be decoded any more. Raises WorkerFault."""
        try:
            result = self._worker.transcribe(
                recording(snippet, DecodedFacts()),
                self._options.attempt_timeout_s(snippet.duration_s),
                lambda _: None,
            )
        except AudioError:
            return None
        except WorkerFault as fault:
            self._judge(fault)
            raise
        return result.text

    def ended_idle(self) -> WorkerEnded | None:
        """Whether it died, or spoke, although nothing was asked of it."""
        try:
            self._worker.check_idle()
        except WorkerFault as fault:
            return self._ended(fault, "idle")
        return None

    def stop(self) -> tuple[WorkerEnded | None, str | None]:
        """Ask it to end; what goes wrong costs nothing, as every result is on disk.

        Says what went wrong, and which process cannot be killed.
        """
        self._surroundings.close()
        ended = None
        try:
            fault = self._worker.end()
            if fault:
                asked = self._worker.phase == "shutdown"
                ended = self._ended(fault, "shutdown" if asked else "idle")
        finally:
            left = self._worker.close()
        return ended, left

    def drop(self) -> str | None:
        """Kill it. Says which process cannot be killed."""
        left = self._worker.close()
        self._surroundings.close()
        return left

    def ended_at(self, what: str, fault: WorkerFault) -> WorkerEnded:
        """Its death over several snippets, or over what is no attempt. Call before drop()."""
        lock = self._env.lock_sha256
        return self._ended(fault, "transcribe").model_copy(
            update={
                "after": None,
                "error": f"{what[:MAX_NAMES_CHARS]}: {fault.message}",
                "crash": self._worker.crash(fault, lock, replay=""),
            }
        )

    def _ended(self, fault: WorkerFault, phase: Phase) -> WorkerEnded:
        return WorkerEnded(
            at=now(),
            model=self._job.model.name,
            outcome=fault.outcome,
            phase=phase,
            after=self._last,
            error=fault.message,
            crash=self._crash(fault),
        )

    def _empty(self, task: Task) -> Attempt:
        return Attempt(
            at=now(),
            model=self._job.model.name,
            key=self._key,
            snippet=task.snippet.name,
            snippet_sha256=task.snippet.sha256,
            repeat=task.repeat,
            retry=task.retry,
            nth=self.tried,
            measured_before=self._measured_before,
            outcome="ok",
            device=self._worker.device,
            load=self._times,
            load_memory=self._worker.load_memory,
            isolation=self._worker.isolation,
            load_details=self._worker.load_details,
        )

    def _faulty(self, attempt: Attempt, fault: WorkerFault, notes: tuple[str, ...]) -> Attempt:
        measured = self._measured()
        update: dict[str, Any] = {
            "outcome": fault.outcome,
            "error": fault.message,
            "notes": notes + measured.pop("notes"),
            "crash": None if fault.alive else self._crash(fault, attempt.snippet),
        }
        return attempt.model_copy(update=measured | update)

    def _of_batch(
        self,
        task: Task,
        result: Transcribed | AudioError,
        facts: DecodedFacts,
        batch: Batch,
        measured: dict[str, Any],
    ) -> Attempt:
        if isinstance(result, AudioError):
            return undecoded(self._empty(task), result)
        notes = (*self._notes_on(task.snippet, facts), *clock_notes(result))
        return of_batch(self._empty(task), result, batch, facts.samples, measured, notes)

    def _notes_on(self, snippet: Snippet, facts: DecodedFacts) -> tuple[str, ...]:
        return notes_on(snippet, facts, self._job.model, self._worker.load_details)

    def _begin(self) -> None:
        if time.monotonic() - self._window_began > FRESH_S:
            self._worker.begin_memory_window()
        self._window_began = float("-inf")  # it serves one attempt, however that ends
        self._surroundings.begin()

    def _judge(self, fault: WorkerFault) -> None:
        if fault.alive and self._env.accelerator != "cpu" and lost_device(fault.message):
            fault.alive = False  # its next answers would be wrong for the same reason

    def _measured_with_next(self) -> dict[str, Any]:
        """The next attempt's window begins now, if that follows at once: looks are dear."""
        measured = self._measured()
        self._worker.begin_memory_window()
        self._window_began = time.monotonic()
        return measured

    def _measured(self) -> dict[str, Any]:
        return {
            "memory": self._worker.memory(),
            "attempt_memory": self._worker.attempt_memory(),
            **self._surroundings.end(),
        }

    def _crash(self, fault: WorkerFault, snippet: str | None = None) -> Crash:
        return self._worker.crash(
            fault,
            self._env.lock_sha256,
            replay_command(
                self._recorder.folder,
                self._job,
                snippet or self._last,
                self._env.accelerator,
            ),
        )
