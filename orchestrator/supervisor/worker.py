"""A worker as the run sees it: load a model once, transcribe snippets, stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import AudioError
from orchestrator.interruptions import interruptions_wait
from orchestrator.platforms import kernel_lines, worker_network
from orchestrator.supervisor.channel import Channel, WorkerFault
from orchestrator.supervisor.crashes import CRASH_LOG_LINES, python_stack
from orchestrator.supervisor.environment import worker_environment
from orchestrator.supervisor.exchange import expect
from orchestrator.supervisor.isolation import Expected, judge
from orchestrator.supervisor.scratch import make_scratch, remove_scratch
from orchestrator.supervisor.spec import WorkerSpec, host_command
from orchestrator.supervisor.transcription import (
    Recording,
    Transcribed,
    transcribe,
    transcribe_together,
)
from schemas import messages
from schemas.records import Crash, Isolation, LoadTimes, MemoryPeak, Phase

STOP_S = 10.0


class Worker:
    """A running worker. Every method raises WorkerFault; afterwards close() unless it is alive."""

    def __init__(self, spec: WorkerSpec, log: Path) -> None:
        self.phase: Phase = "spawn"
        self.batches = False  # it takes several snippets at once
        self.device: str | None = None
        self.load_details: messages.Details = {}
        self.load_memory: MemoryPeak | None = None
        self.network = worker_network(spec.python)
        self.isolation: Isolation | None = None
        self.packages: dict[str, str] = {}  # the env's top-level modules in use → file
        self._spec = spec
        self._started_at, self._started = time.perf_counter(), time.monotonic()
        self._log = log
        try:
            with contextlib.ExitStack() as ends:  # nobody else has it yet
                with interruptions_wait():
                    self._scratch = make_scratch()
                    self._channel = self._open_channel()
                    ends.callback(self.close)
                ends.pop_all()
        except (OSError, RuntimeError) as error:  # the latter: no thread can be started
            why = getattr(error, "strerror", None) or error
            raise WorkerFault(
                "crashed", f"cannot start {spec.python} with its log in {log}: {why}"
            ) from error
        self._pids = {self._channel.tree.pid}

    def prove(
        self, options: list[tuple[messages.Options, messages.Options]], timeout_s: float
    ) -> None:
        """Hello and import, without loading a model: shows that an env works.

        options: for load() and transcribe(), of each model that the env must serve.
        """
        deadline = time.monotonic() + timeout_s
        self._hello(deadline)
        for load_options, transcribe_options in options:
            self._import(load_options, transcribe_options, deadline)

    def load(self, timeout_s: float) -> LoadTimes:
        """Hello, import, load; afterwards device, load_details and load_memory are known."""
        deadline = time.monotonic() + timeout_s
        _, hello_at = self._hello(deadline)
        imported_at = self._import(self._spec.options, self._spec.transcribe_options, deadline)
        checkpoint = None if self._spec.checkpoint is None else str(self._spec.checkpoint)
        self._channel.send(messages.Load(checkpoint, self._spec.device), deadline)
        loaded = expect(self._channel, messages.Loaded, deadline)
        self.device, self.load_details = loaded.reply.device, loaded.reply.details
        self.load_memory = self._channel.tree.memory_window()
        if self.device not in (self._spec.device, "unknown"):
            said = f"the model was loaded on {self.device}, not on {self._spec.device}"
            raise WorkerFault("failed", said, alive=True)
        self.phase = "transcribe"
        return LoadTimes(
            total_s=loaded.at - self._started_at,
            spawn_s=self._channel.spawned_at - self._started_at,
            interpreter_s=hello_at - self._channel.spawned_at,
            imports_s=imported_at - hello_at,
            weights_s=loaded.at - imported_at,
        )

    def trace(self, timeout_s: float) -> Isolation:
        """From where came what is loaded by now; afterwards isolation and packages are known."""
        deadline = time.monotonic() + timeout_s
        phase, self.phase = self.phase, "load"
        try:
            self._channel.send(messages.Trace(), deadline)
            origins = expect(self._channel, messages.Origins, deadline).reply
            self.phase = phase
        except WorkerFault as fault:
            if not fault.alive:
                raise
            self.phase = phase
            self.isolation = Isolation(network=self.network, leaks=(f"unknown: {fault.message}",))
            return self.isolation
        spec = self._spec
        expected = Expected(spec.worker, spec.checkpoint, spec.remote_code)
        self.packages = origins.packages
        self.isolation = judge(origins, expected, self.network)
        return self.isolation

    def transcribe(
        self, recording: Recording, timeout_s: float, on_partial: Callable[[str], None]
    ) -> Transcribed:
        """See transcription."""
        return transcribe(self._channel, recording, timeout_s, on_partial)

    def transcribe_together(
        self, recordings: Sequence[Recording], timeout_s: float
    ) -> list[Transcribed | AudioError]:
        """See transcription. Only for a worker that takes batches."""
        return transcribe_together(self._channel, recordings, timeout_s)

    def check_idle(self) -> None:
        """Raises WorkerFault if it died, or sent something, since its last reply."""
        self._channel.expect_silence()

    def memory(self) -> MemoryPeak | None:
        """Peak of the process tree since the spawn."""
        return self._channel.tree.memory()

    def begin_memory_window(self) -> None:
        """An attempt starts whose own peak is wanted."""
        self._channel.tree.begin_memory_window()

    def attempt_memory(self) -> MemoryPeak | None:
        """Peak of the process tree since the last begin_memory_window()."""
        return self._channel.tree.memory_window()

    def pids(self) -> list[int]:
        """Of the process tree."""
        return self._channel.tree.pids()

    def cpu_s_by_pid(self) -> dict[int, float]:
        """See ProcessTree."""
        return self._channel.tree.cpu_s_by_pid()

    def crash(self, fault: WorkerFault, lock_sha256: str, replay: str) -> Crash:
        """What is known of its end. Call before close()."""
        log_tail = self._channel.log_tail(CRASH_LOG_LINES)
        tree = self._channel.tree
        return Crash(
            exit=fault.message.partition("\n")[0],
            stack=python_stack(log_tail),
            log_tail=log_tail,
            last_frames=self._channel.last_frames(),
            memory_curve=tuple(tree.memory_curve()),
            kernel_lines=tuple(kernel_lines(self._pids, self._started)),
            lock_sha256=lock_sha256,
            replay=replay,
        )

    def end(self) -> WorkerFault | None:
        """Ask it to end and give it a while; close() it then. Says what went wrong, if it did.

        Every result is on disk by now: a worker that dies or hangs here costs nothing. If it had
        ended before it was asked to, its phase is not shutdown.
        """
        try:
            self.check_idle()
        except WorkerFault as fault:
            return fault
        self.phase = "shutdown"
        return self._channel.end(STOP_S)

    def close(self) -> str | None:
        """Kill it and everything that it started. Says which process cannot be killed.

        Its temporary files go too.
        """
        try:
            with interruptions_wait():
                return self._channel.close()
        finally:
            if not remove_scratch(self._scratch):
                with contextlib.suppress(OSError), self._log.open("a", encoding="utf-8") as log:
                    log.write(f"[asrbench could not delete all of {self._scratch}]\n")

    def _open_channel(self) -> Channel:
        try:
            return Channel(
                host_command(self._spec.python, self.network),
                worker_environment(self._scratch, self._spec.variables),
                self._scratch,
                self._log,
                self._spec.memory_limit_bytes,
            )
        except BaseException:
            remove_scratch(self._scratch)
            raise

    def _hello(self, deadline: float) -> tuple[messages.Hello, float]:
        received = expect(self._channel, messages.Hello, deadline)
        hello = received.reply
        if hello.protocol != messages.PROTOCOL:
            raise WorkerFault(
                "protocol_error",
                f"worker speaks protocol {hello.protocol}, not {messages.PROTOCOL}",
            )
        if Path(hello.prefix).resolve() != self._spec.env.resolve():
            raise WorkerFault(
                "protocol_error",
                f"worker runs in {hello.prefix}, not in its env {self._spec.env}",
            )
        self._pids.add(hello.pid)  # on Windows the other one is a launcher's
        self.phase = "load"
        self.network = hello.network
        return hello, received.at

    def _import(
        self, options: messages.Options, transcribe_options: messages.Options, deadline: float
    ) -> float:
        request = messages.Import(self._spec.worker, options, transcribe_options)
        self._channel.send(request, deadline)
        imported = expect(self._channel, messages.Imported, deadline)
        self.batches = imported.reply.batches
        return imported.at
