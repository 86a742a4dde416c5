"""A thread for calls into drivers, which may hang: nobody waits for one without a limit."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

CLOSE_WAIT_S = 2.0


class DriverThread:
    """Makes calls one after another, and each_period() every period_s while nothing is asked.

    A daemon: one that hangs does not keep the controller from ending.
    """

    def __init__(
        self, name: str, period_s: float | None, each_period: Callable[[], None] | None
    ) -> None:
        self._period_s = period_s
        self._each_period = each_period
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._late: Future[Any] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, call: Callable[[], T], wait_s: float) -> T:
        """What call() returns or raises, on the thread.

        TimeoutError after wait_s; at once while an earlier call has not come back.
        """
        if self._late is not None and not self._late.done():
            raise TimeoutError("still no answer")
        answer: Future[T] = Future()

        def job() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:  # noqa: BLE001 - it is the asker's
                answer.set_exception(error)

        self._jobs.put(job)
        try:
            return answer.result(wait_s)
        except TimeoutError:
            if answer.done():  # the call's own
                raise
            self._late = answer
            raise TimeoutError(f"no answer within {wait_s:g} s") from None

    def close(self, last: Callable[[], None]) -> None:
        """Call last() on the thread and end it; a thread that hangs is left behind."""
        self._jobs.put(last)
        self._jobs.put(None)
        self._thread.join(CLOSE_WAIT_S)

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._period_s)
            except queue.Empty:
                job = self._each_period
            if job is None:
                return
            job()
