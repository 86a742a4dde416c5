"""One worker's process and pipes: requests go out, validated replies and faults come in.

A thread reads frames, another waits for the process handle; both put events into one queue, and
every wait on it has a deadline. Death is told by the handle alone: a grandchild may hold the
pipes open long after. So what a dead worker left behind is killed at once: then the pipes end, and
what it had written before is known to be all there is.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.platforms import ProcessTree, spawn
from orchestrator.supervisor.exits import describe_exit, is_out_of_memory
from orchestrator.supervisor.log import LogPump
from orchestrator.supervisor.replies import validated
from schemas import framing
from schemas.messages import Reply, Request
from schemas.records import Outcome

DRAIN_S = 1.0  # after a death, for pipes that a process holds which could not be killed
EXIT_AFTER_EOF_S = 2.0
SLICE_S = 0.2  # on Windows a longer wait would not notice Ctrl-C
THREADS_END_S = 1.0
STACK_S = 1.0  # for a hanging worker to print where it hangs
MAX_PENDING = 16
PENDING_S = 0.001


class WorkerFault(Exception):  # noqa: N818 a result, not a programming error
    """How a request ended that brought no result. alive: the worker can take the next one."""

    def __init__(self, outcome: Outcome, message: str, alive: bool = False) -> None:
        self.outcome = outcome
        self.message = message
        self.alive = alive
        super().__init__(message)


@dataclass(frozen=True)
class Received:
    """A validated reply and when it came (time.perf_counter)."""

    reply: Reply
    at: float


def _no_blob(header: framing.Header, length: int) -> memoryview:
    raise framing.FramingError(f"a reply came with a blob of {length} bytes")


@dataclass(frozen=True)
class _Frame:
    header: framing.Header
    at: float


@dataclass(frozen=True)
class _PipeEnded:
    why: str | None  # None: a clean end


@dataclass(frozen=True)
class _Exited:
    pass


class Channel:
    """Open from the spawn until close(). Not for use by several threads."""

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: Path,
        log: Path,
        memory_limit_bytes: int | None = None,
    ) -> None:
        log_file = log.open("ab", buffering=0)
        try:
            self.tree: ProcessTree = spawn(command, environment, folder, memory_limit_bytes)
        except BaseException:
            log_file.close()
            raise
        self.spawned_at = time.perf_counter()
        self._dead = False
        self._closing = False
        self._frames_sent = 0
        self._last_sent = self._last_received = "none"
        self._events: queue.SimpleQueue[_Frame | _PipeEnded | _Exited] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="reply reader", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name="exit waiter", daemon=True)
        try:
            self._log = LogPump(self.tree.stderr, log_file)
        except BaseException:  # no thread, below a limit of processes
            self.tree.close()
            log_file.close()
            raise
        try:
            self._reader.start()
            self._waiter.start()
        except BaseException:
            self._closing = True
            self.tree.close()
            self._log.join(THREADS_END_S)
            raise

    def send(self, request: Request, deadline: float, blob: memoryview | bytes = b"") -> None:
        """Write one frame. Raises WorkerFault if the worker is dead or reads nothing until then."""
        self._frames_sent += 1
        self._last_sent = f"number {self._frames_sent}, {request.kind}"
        try:
            self.tree.write(memoryview(framing.encode_frame(vars(request), blob)), deadline)
            self.tree.write(memoryview(blob), deadline)
        except TimeoutError:
            raise self.fault("timed_out", "did not take its audio in time") from None
        except OSError:
            raise self._death("closed its input") from None

    def receive(self, deadline: float) -> Received:
        """The next reply. Raises WorkerFault at the deadline, at death and for anything invalid."""
        while True:
            if self._dead:
                deadline = min(deadline, time.monotonic() + DRAIN_S)
            event = self._next_event(deadline)
            if isinstance(event, _Frame):
                self._last_received = str(event.header.get("kind"))[:40]
                return Received(self._validated(event.header), event.at)
            if isinstance(event, _Exited):
                self._end_pipes()
            elif isinstance(event, _PipeEnded):
                raise self._death(event.why or "closed its output")
            elif self._dead:  # and somebody holds its pipe who could not be killed
                raise self._death("died")
            else:
                raise self.fault("timed_out", "gave no answer in time")

    def expect_silence(self) -> None:
        """Raises WorkerFault if something came that nobody asked for."""
        with contextlib.suppress(queue.Empty):
            event = self._events.get_nowait()
            if isinstance(event, _Frame):
                raise self.fault("protocol_error", "sent a reply that nobody asked for")
            why = event.why if isinstance(event, _PipeEnded) else None
            raise self._death(why or "closed its output")

    def end(self, within_s: float) -> WorkerFault | None:
        """Ask it to end. A fault if it dies of that, or does not."""
        self.tree.close_stdin()
        returncode = self.tree.wait(within_s)
        if returncode is None:
            return self.fault("timed_out", f"did not end within {within_s:g} s of being asked to")
        return self._death("died") if returncode else None

    def last_frames(self) -> str:
        """What was sent last, and what came."""
        return f"sent: {self._last_sent}; received: {self._last_received}"

    def log_tail(self, lines: int) -> str:
        """The last lines that the worker printed."""
        return self._log.tail(lines)

    def fault(self, outcome: Outcome, message: str) -> WorkerFault:
        """A fault with the worker's last words; of one that hangs, with where it hangs."""
        if outcome == "timed_out":
            why = self.tree.dump_stack()
            self._log.join(STACK_S)
            message += f"; {why}" if why else ""
        tail = self._log.tail()
        return WorkerFault(outcome, f"worker {message}" + (f"\n{tail}" if tail else ""))

    def close(self) -> str | None:
        """Kill the tree and give everything back, but for threads that an escaped process holds.

        Says which process cannot be killed.
        """
        self._closing = True
        self.tree.kill()
        self._log.join(THREADS_END_S)
        self._reader.join(THREADS_END_S)
        self._waiter.join(THREADS_END_S)
        return self.tree.close()

    def _next_event(self, deadline: float) -> _Frame | _PipeEnded | _Exited | None:
        while True:
            left_s = deadline - time.monotonic()
            with contextlib.suppress(queue.Empty):
                return self._events.get(timeout=min(max(left_s, 0.0), SLICE_S))
            if left_s <= 0:
                return None

    def _validated(self, header: framing.Header) -> Reply:
        try:
            return validated(header)
        except ValueError as error:
            raise self.fault("protocol_error", f"sent a reply that does not fit: {error}") from None

    def _end_pipes(self) -> None:
        """Kill what a dead worker left behind, so that its pipes end after its own last words."""
        if not self._dead:
            self._dead = True
            self.tree.kill()

    def _death(self, what: str) -> WorkerFault:
        returncode = self.tree.wait(EXIT_AFTER_EOF_S)
        if returncode is None:
            return self.fault("protocol_error", f"{what}, but lives on")
        self._end_pipes()
        self._log.join(THREADS_END_S)  # its last words are often the cause
        ended = describe_exit(returncode)
        evidence = self.tree.out_of_memory()
        if evidence:
            return self.fault("out_of_memory", f"{ended}: {evidence}")
        return self.fault("out_of_memory" if is_out_of_memory(returncode) else "crashed", ended)

    def _read(self) -> None:
        while True:
            try:
                frame = framing.read_frame(self.tree.stdout, _no_blob)
            except (framing.FramingError, OSError, ValueError) as error:
                self._events.put(_PipeEnded(f"broke the protocol: {error}"))
                return
            if frame is None:
                self._events.put(_PipeEnded(None))
                return
            self._events.put(_Frame(frame[0], time.perf_counter()))
            # a flood of replies must fill the worker's pipe and not our memory
            while self._events.qsize() > MAX_PENDING and not self._closing:
                time.sleep(PENDING_S)

    def _wait(self) -> None:
        self.tree.wait(None)
        self._events.put(_Exited())
