"""A worker with its model loaded: tries one snippet after the other and records each try."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.audio.decode import DecodedFacts, Samples, decode
from orchestrator.environments.env import Env
from orchestrator.errors import AudioError
from orchestrator.platforms import quoted
from orchestrator.run.device_loss import lost_device
from orchestrator.run.jobs import ModelJob
from orchestrator.run.options import RunOptions
from orchestrator.run.recorder import Recorder, now
from orchestrator.run.surroundings import FRESH_S, Surroundings
from orchestrator.run.tasks import Task
from orchestrator.snippets.snippet import Snippet
from orchestrator.stacks import Model
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.spec import WorkerSpec
from orchestrator.supervisor.worker import Transcribed, Worker
from schemas.messages import SAMPLE_RATE_HZ
from schemas.records import Accelerator, Attempt, Crash, LoadTimes, Phase, WorkerEnded

CLOCK_SLACK_S = 0.5
CLOCK_SLACK = 0.1


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

    def attempt(self, task: Task, warm_up: bool = False) -> tuple[Attempt, bool]:
        """One try, and whether the worker can take the next one."""
        snippet, worker, facts = task.snippet, self._worker, DecodedFacts()
        self.tried += 1
        self._last = snippet.name
        attempt = self._empty(task)
        partials: list[str] = []
        if time.monotonic() - self._window_began > FRESH_S:
            worker.begin_memory_window()
        self._window_began = float("-inf")  # it serves one attempt, however that ends
        self._surroundings.begin()

        def on_partial(text: str) -> None:
            partials[:] = [text]
            self._recorder.view.partial(attempt.model, snippet.name, text)

        try:
            result = worker.transcribe(
                snippet.name,
                _blocks(snippet, facts),
                round((snippet.duration_s or 0.0) * SAMPLE_RATE_HZ),
                self._options.attempt_timeout_s(snippet.duration_s),
                on_partial,
            )
        except AudioError as error:  # the worker has heard nothing
            self.tried -= 1
            failed = {"outcome": "failed", "phase": "decode", "error": str(error)}
            return attempt.model_copy(update=failed), True
        except WorkerFault as fault:
            self._measured_before += 1  # a warm-up that fails is recorded as measured
            if fault.alive and self._env.accelerator != "cpu" and lost_device(fault.message):
                fault.alive = False  # its next answers would be wrong for the same reason
            said = (f"text before it ended: {partials[0]}",) if partials else ()
            return self._faulty(attempt, fault, said), fault.alive
        self._measured_before += not warm_up
        was_warm, self.warm = self.warm, True
        measured = self._measured()
        worker.begin_memory_window()  # the next attempt's, if that follows at once: looks are dear
        self._window_began = time.monotonic()
        notes = (*_notes(snippet, facts, self._job.model), *_clock_notes(result))
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


def _blocks(snippet: Snippet, facts: DecodedFacts) -> Iterator[Samples]:
    yield from decode(snippet.audio, facts, snippet.offset_s, snippet.segment_s)
    if facts.peak == 0.0 and snippet.reference:
        raise AudioError(
            f"{snippet.audio} is silent: every sample is zero, yet its reference has words; record "
            "it again, or empty the reference if silence is meant"
        )


def _notes(snippet: Snippet, facts: DecodedFacts, model: Model) -> tuple[str, ...]:
    notes = []
    if not snippet.reference:
        notes.append("empty reference: no WER, inserted words count in the corpus WER")
    if facts.clipped_samples:
        notes.append(f"{facts.clipped_samples} samples over full scale were clipped")
    if model.languages and snippet.language.split("-")[0] not in model.languages:
        notes.append(f"the model knows {', '.join(model.languages)}, not {snippet.language}")
    return tuple(notes)


def _clock_notes(result: Transcribed) -> tuple[str, ...]:
    """The two clocks tell apart a slow model and a machine that slept or a controller that did."""
    if result.time_s - result.infer_s <= max(CLOCK_SLACK_S, CLOCK_SLACK * result.infer_s):
        return ()
    return (
        f"the controller's clock says {result.time_s:.2f} s, the worker's {result.infer_s:.2f} s: "
        "was the machine asleep, or the controller stopped?",
    )
