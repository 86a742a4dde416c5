"""Linux: memory of several processes with each shared page counted once, seldom and with a limit.

The kernel walks their page tables for that: it slows them, and it waits for as long as one's
address space is held, which a driver that hangs does for ever.
"""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import threading
import time

from orchestrator.platforms import procfs

SHARE = 0.05  # of the time at most
ANSWER_S = 1.0  # 300 MB take 10 ms


class ProportionalMemory:
    """Of one tree."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._reader: threading.Thread | None = None
        self._answers = list[int]()
        self._took_s = 0.0

    def forget(self) -> None:
        """A window begins: an answer that is still to come would be of the one before."""
        self._answers = list[int]()

    def seldom(self, pids: list[int]) -> int | None:
        """Bytes; None if it was asked for just now, or cannot be had."""
        start_s = time.monotonic()
        if start_s < self._next_s:
            return None
        found = self.now(pids)
        now_s = time.monotonic()
        self._next_s = now_s + max(now_s - start_s, self._took_s) / SHARE
        return found

    def now(self, pids: list[int]) -> int | None:
        """Bytes; None if there is no answer yet: a late one comes with a later call."""
        wait_s = 0.0
        if self._reader is None:
            wait_s, self._answers = ANSWER_S, list[int]()
            answers = self._answers

            def read() -> None:
                start_s = time.monotonic()
                answers.append(procfs.proportional_bytes(pids))
                self._took_s = time.monotonic() - start_s

            reader = threading.Thread(target=read, name="page table reader", daemon=True)
            try:
                reader.start()
            except RuntimeError:  # no room for a thread below a limit of processes
                return None
            self._reader = reader
        self._reader.join(wait_s)
        if self._reader.is_alive():  # one such thread is enough
            return None
        self._reader = None
        return self._answers[0] if self._answers else None
