"""Writing to a pipe that only blocks: in a thread of its own, so that the caller can stop waiting.

Windows knows neither poll() nor, before Python 3.12, a non-blocking pipe, and a thread that is
inside a write notices neither a deadline nor Ctrl-C. Not even close() may be called meanwhile: the
C runtime lets it wait for the write.
"""

from __future__ import annotations

import contextlib
import io
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SLICE_S = 0.2  # on Windows a longer wait would not notice Ctrl-C


@dataclass
class _Job:
    data: memoryview
    done: threading.Event = field(default_factory=threading.Event)
    error: OSError | None = None


class ThreadedWriter:
    """The only one who writes to the stream and closes it. For calls from one thread."""

    def __init__(self, stream: io.FileIO, reader_died: Callable[[], bool]) -> None:
        self._stream = stream
        self._reader_died = reader_died
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="pipe writer", daemon=True)
        self._thread.start()

    def write(self, data: memoryview, deadline: float) -> None:
        """Write all. TimeoutError at time.monotonic() == deadline; OSError if nobody can read it.

        After a TimeoutError or an interruption the thread is still busy with this data until the
        reader reads or dies, and what is written or closed later waits behind it.
        """
        job = _Job(data)
        self._jobs.put(job)
        while not job.done.wait(min(max(deadline - time.monotonic(), 0.0), SLICE_S)):
            if self._reader_died():  # another process may keep its end of the pipe open
                raise BrokenPipeError
            if time.monotonic() >= deadline:
                raise TimeoutError
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """Close the stream as soon as all that was given is written; does not wait for it."""
        self._jobs.put(None)

    def join(self, timeout_s: float) -> bool:
        """After close(): wait until the stream is closed. False if a write is still stuck."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                while job.data:
                    job.data = job.data[self._stream.write(job.data) or 0 :]
            except OSError as error:
                job.error = error
            job.done.set()
        with contextlib.suppress(OSError):
            self._stream.close()
