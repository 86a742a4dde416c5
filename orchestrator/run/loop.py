"""One model after the other, one snippet after the other: parallel work would spoil the times."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.audio.decode import DecodedFacts, Samples, decode
from orchestrator.checkpoints import warm_cache
from orchestrator.environments.build import choose_accelerator, ensure_env
from orchestrator.environments.env import Env
from orchestrator.environments.locks import use_env
from orchestrator.errors import AsrbenchError, AudioError
from orchestrator.journal import Journal
from orchestrator.run.jobs import ModelJob, model_key
from orchestrator.run.options import RunOptions
from orchestrator.snippets.snippet import Snippet
from orchestrator.stacks import Model
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.worker import Transcribed, Worker, WorkerSpec
from orchestrator.views import View
from schemas.messages import SAMPLE_RATE_HZ
from schemas.records import Attempt, LoadTimes, ModelFailed, ModelStarted, Outcome, Phase

CLOCK_SLACK_S = 0.5
CLOCK_SLACK = 0.1

Done = Callable[[str, str, Snippet], bool]  # (model, key, snippet) → an attempt holds


@dataclass(frozen=True)
class Recorder:
    """Where the loop leaves what happened: first on disk, then on the screen."""

    journal: Journal
    view: View
    logs: Path


@dataclass(frozen=True)
class _Loaded:
    worker: Worker
    times: LoadTimes


class _GivenUp(Exception):  # noqa: N818 a result
    """The model's remaining snippets are not tried."""

    def __init__(self, outcome: Outcome, phase: Phase, error: str) -> None:
        self.outcome: Outcome = outcome
        self.phase: Phase = phase
        self.error = error
        super().__init__(error)


def now() -> str:
    """The time, for records."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def run_model(
    job: ModelJob, snippets: list[Snippet], done: Done, options: RunOptions, recorder: Recorder
) -> None:
    """All snippets on one model. Every way in which it can end is in the journal afterwards."""
    name, failure = job.model.name, None
    try:
        with contextlib.ExitStack() as held:
            _Turn(job, options, recorder, held).run(snippets, done)
    except _GivenUp as given_up:
        failure = ModelFailed(
            at=now(),
            model=name,
            outcome=given_up.outcome,
            phase=given_up.phase,
            error=given_up.error,
        )
        recorder.journal.append(failure)
    recorder.view.model_ends(name, failure)


class _Turn:
    """One model's turn: its env, its worker while it lives, its crashes in a row."""

    def __init__(
        self, job: ModelJob, options: RunOptions, recorder: Recorder, held: contextlib.ExitStack
    ) -> None:
        self._job = job
        self._held = held
        self._options = options
        self._recorder = recorder
        self._loaded: _Loaded | None = None
        self._crashes = 0
        self._log = recorder.logs / f"{job.model.name}.log"

    def run(self, snippets: list[Snippet], done: Done) -> None:
        env = self._prepare()
        key = model_key(self._job, env)
        model = self._job.model.name
        self._recorder.journal.append(
            ModelStarted(
                at=now(),
                model=model,
                key=key,
                accelerator=env.accelerator,
                env=env.folder.name,
                lock_sha256=env.lock_sha256,
            )
        )
        pending = [s for s in snippets if not s.error and not done(model, key, s)]
        pending_s = sum(snippet.duration_s or 0.0 for snippet in pending)
        self._recorder.view.model_begins(model, len(pending), pending_s)
        self._transcribe_all(pending, env, key)

    def _transcribe_all(self, pending: list[Snippet], env: Env, key: str) -> None:
        try:
            for snippet in pending:
                loaded = self._loaded or self._load(env)
                attempt = self._attempt(loaded, snippet, key)
                self._recorder.journal.append(attempt)
                self._recorder.view.attempt(attempt)
                if self._crashes >= self._options.max_crashes and snippet is not pending[-1]:
                    raise self._given_up(attempt.outcome, attempt.phase, attempt.error or "")
            if self._loaded:
                complaint = self._loaded.worker.stop()
                self._loaded = None
                if complaint:
                    model = self._job.model.name
                    self._recorder.view.note(f"{model}: at shutdown its worker {complaint}")
        finally:
            self._drop_worker()

    def _prepare(self) -> Env:
        view, stack, model = self._recorder.view, self._job.stack, self._job.model.name
        if self._job.checkpoint.missing:
            raise _GivenUp("failed", "download", f"{model}: {self._job.checkpoint.missing}")
        view.stage(model, "preparing its env")
        try:
            accelerator = choose_accelerator(stack)
            if accelerator != stack.accelerators[0]:
                first = stack.accelerators[0]
                view.note(f"{model}: runs on {accelerator}: {first} is not supported yet")
            env = ensure_env(stack, accelerator, view.note)
            self._held.enter_context(use_env(env, view.note))
        except AsrbenchError as error:
            raise _GivenUp("failed", "env", str(error)) from error
        if self._job.checkpoint.path:
            view.stage(model, "reading its checkpoint")
            warm_cache(self._job.checkpoint.path)
        return env

    def _load(self, env: Env) -> _Loaded:
        """A fresh worker with its model; tried again only after a crash."""
        while True:
            self._recorder.view.stage(self._job.model.name, "loading")
            phase: Phase = "spawn"
            worker = None
            try:
                worker = Worker(self._spec(env), self._log)
                times = worker.load(self._options.load_timeout_s)
                _check_device(worker, env.accelerator)
                self._loaded = _Loaded(worker, times)
                self._recorder.view.stage(self._job.model.name, "transcribing")
                return self._loaded
            except WorkerFault as fault:
                phase = worker.phase if worker else phase
                self._crashes += 1
                if phase == "spawn":  # no model is to blame before the host's hello
                    hint = f"\nIs its env broken? asrbench env rebuild {self._job.stack.name}"
                    raise _GivenUp(fault.outcome, phase, fault.message + hint) from fault
                if fault.outcome != "crashed":
                    raise _GivenUp(fault.outcome, phase, fault.message) from fault
                if self._crashes >= self._options.max_crashes:
                    raise self._given_up(fault.outcome, phase, fault.message) from fault
            finally:
                if worker and not self._loaded:
                    worker.close()

    def _attempt(self, loaded: _Loaded, snippet: Snippet, key: str) -> Attempt:
        worker, facts = loaded.worker, DecodedFacts()
        attempt = Attempt(
            at=now(),
            model=self._job.model.name,
            key=key,
            snippet=snippet.name,
            snippet_sha256=snippet.sha256,
            outcome="ok",
            device=worker.device,
            load=loaded.times,
            load_details=worker.load_details,
        )
        partials: list[str] = []

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
        except AudioError as error:
            return attempt.model_copy(
                update={"outcome": "failed", "phase": "decode", "error": str(error)}
            )
        except WorkerFault as fault:
            update: dict[str, object] = {
                "outcome": fault.outcome,
                "error": fault.message,
                "memory": worker.memory(),
            }
            if partials:
                update["notes"] = (f"text before it ended: {partials[0]}",)
            self._crashes = 0 if fault.alive else self._crashes + 1
            if not fault.alive:
                self._drop_worker()
            return attempt.model_copy(update=update)
        self._crashes = 0
        return attempt.model_copy(
            update={
                "text": result.text,
                "time_s": result.time_s,
                "infer_s": result.infer_s,
                "audio_s": facts.samples / SAMPLE_RATE_HZ,
                "memory": worker.memory(),
                "details": result.details,
                "notes": (*_notes(snippet, facts, self._job.model), *_clock_notes(result)),
            }
        )

    def _spec(self, env: Env) -> WorkerSpec:
        return WorkerSpec(
            python=env.python,
            env=env.folder,
            worker=self._job.stack.worker_address,
            options=self._job.model.options,
            transcribe_options=self._job.model.transcribe_options,
            checkpoint=self._job.checkpoint.path,
            device=env.accelerator,
        )

    def _given_up(self, outcome: Outcome, phase: Phase, last: str) -> _GivenUp:
        return _GivenUp(
            outcome, phase, f"given up after {self._crashes} crashes in a row; the last: {last}"
        )

    def _drop_worker(self) -> None:
        if self._loaded:
            self._loaded.worker.close()
            self._loaded = None


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


def _check_device(worker: Worker, wanted: str) -> None:
    if worker.device not in (wanted, "unknown"):
        raise WorkerFault("failed", f"the model was loaded on {worker.device}, not on {wanted}")
