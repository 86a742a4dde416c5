"""The part of a check that needs a worker: it loads the model and gives it some speech."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.environments.env import Env
from orchestrator.errors import AudioError
from orchestrator.run import check_advice
from orchestrator.run.check_advice import Circumstances
from orchestrator.run.check_steps import (
    CheckpointFound,
    DeviceFound,
    MemoryFound,
    SpeechFound,
    Step,
    StepName,
    Trouble,
)
from orchestrator.run.launch import worker_spec
from orchestrator.run.recordings import language_notes
from orchestrator.run.surroundings import Surroundings
from orchestrator.snippets.snippet import Snippet
from orchestrator.supervisor.channel import WorkerFault
from orchestrator.supervisor.isolation import notes as isolation_notes
from orchestrator.supervisor.transcription import Recording
from orchestrator.supervisor.worker import Worker
from schemas.messages import SAMPLE_RATE_HZ

SPEECH_S = 3.0
AT_WORK: tuple[StepName, ...] = ("load", "speech", "device", "memory")

Done = Callable[[Step], object]


@dataclass(frozen=True)
class Ready:
    """An env to work in, and where what the worker prints goes."""

    env: Env
    log: Path


class Trial:
    """One worker from its spawn to its end. Made for one run()."""

    def __init__(
        self, here: Circumstances, ready: Ready, files: CheckpointFound, snippet: Snippet
    ) -> None:
        self._here = here
        self._ready = ready
        self._files = files
        self._snippet = snippet
        self._device = Step("device")
        self._memory = MemoryFound(None, None)
        self._farewell: tuple[str, ...] = ()

    def run(self, done: Done) -> None:
        """Load, speech, device, memory."""
        job, options = self._here.job, self._here.options
        try:
            worker = Worker(worker_spec(job, self._ready.env, options), self._ready.log)
        except WorkerFault as fault:
            trouble = check_advice.of_fault(fault, "spawn", None, self._files, self._here)
            done(Step("load", trouble=trouble))
            for name in AT_WORK[1:]:
                done(Step(name))
            return
        left = None
        try:
            self._at_work(worker, done)
        finally:
            left = worker.close()
        done(self._device)
        remarks = (*self._farewell, left) if left else self._farewell
        done(Step("memory", self._memory, remarks=remarks))

    def _at_work(self, worker: Worker, done: Done) -> None:
        loaded = self._load(worker)
        done(loaded)
        if loaded.trouble:
            done(Step("speech"))
            return
        self._device = Step("device", DeviceFound(worker.device or "unknown", worker.load_details))
        heard = self._listen(worker)
        done(heard)
        if not heard.trouble:
            fault = worker.end()
            if fault:
                self._farewell = (f"it went wrong after its answer: {fault.message}",)

    def _load(self, worker: Worker) -> Step:
        limit_s = self._here.options.load_timeout_s
        try:
            times = worker.load(limit_s)
            isolation = worker.trace(limit_s)
        except WorkerFault as fault:
            self._measure(worker)
            return Step("load", trouble=self._trouble(fault, worker))
        refused = isolation.network.partition(": ")[2]
        network = (f"the worker can reach the network: {refused}",) if refused else ()
        return Step("load", times, remarks=(*network, *isolation_notes(isolation)))

    def _listen(self, worker: Worker) -> Step:
        try:
            surroundings = Surroundings(worker)
        except RuntimeError as error:  # no thread, below a limit of processes
            self._measure(worker)
            fault = WorkerFault("failed", f"worker cannot be watched: {error}", alive=True)
            return Step("speech", trouble=self._trouble(fault, worker))
        with contextlib.closing(surroundings):
            surroundings.begin()
            try:
                found = self._transcribe(worker)
            except AudioError as error:
                self._measure(worker, surroundings)
                return Step("speech", trouble=check_advice.of_recording(error))
            except WorkerFault as fault:
                self._measure(worker, surroundings)
                return Step("speech", trouble=self._trouble(fault, worker))
            noticed = self._measure(worker, surroundings)
        return Step("speech", found, remarks=(*self._remarks(found, worker), *noticed))

    def _transcribe(self, worker: Worker) -> SpeechFound:
        """The recording's first seconds, handed over as in a run."""
        snippet, facts = self._snippet, DecodedFacts()
        if snippet.error:
            raise AudioError(snippet.error)
        blocks = decode(snippet.audio, facts, snippet.offset_s, SPEECH_S)
        result = worker.transcribe(
            Recording(snippet.name, blocks, round(SPEECH_S * SAMPLE_RATE_HZ)),
            self._here.options.attempt_timeout_s(SPEECH_S),
            lambda _: None,
        )
        audio_s = facts.samples / SAMPLE_RATE_HZ
        return SpeechFound(
            text=result.text,
            reference=snippet.reference,
            recording=str(snippet.audio),
            recording_s=snippet.duration_s,
            audio_s=audio_s,
            time_s=result.time_s,
            infer_s=result.infer_s,
            rtfx=audio_s / result.time_s if result.time_s else None,
        )

    def _remarks(self, found: SpeechFound, worker: Worker) -> tuple[str, ...]:
        said = []
        if not found.text.strip():
            said.append("no text, although there is speech: try it on recordings of your own")
        known, language = self._here.job.model.languages, self._snippet.language
        return (*said, *language_notes(language, known, worker.load_details))

    def _measure(self, worker: Worker, surroundings: Surroundings | None = None) -> tuple[str, ...]:
        """Keep what memory it took so far. Says what disturbed it, or could not be seen."""
        seen = surroundings.end() if surroundings else {}
        devices = seen.get("device_memory", ())
        self._memory = MemoryFound(worker.memory(), worker.load_memory, devices)
        return (*seen.get("disturbed", ()), *seen.get("notes", ()))

    def _trouble(self, fault: WorkerFault, worker: Worker) -> Trouble:
        peak = self._memory.peak
        return check_advice.of_fault(fault, worker.phase, peak, self._files, self._here)
