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

    def seldom(self, pids: list[int]) -> int | None:
        """Bytes; None if it was asked for just now, or cannot be had."""
        start_s = time.monotonic()
        if start_s < self._next_s:
            return None
        found = self.now(pids)
        now_s = time.monotonic()
        self._next_s = max(self._next_s, now_s + (now_s - start_s) / SHARE)
        return found

    def now(self, pids: list[int]) -> int | None:
        """Bytes; None if there is no answer, and then a thread is left waiting for it."""
        if self._next_s == float("inf"):
            return None
        answers = list[int]()
        reader = threading.Thread(
            target=lambda: answers.append(procfs.proportional_bytes(pids)),
            name="page table reader",
            daemon=True,
        )
        reader.start()
        reader.join(ANSWER_S)
        if not answers:
            self._next_s = float("inf")  # one such thread is enough
        return answers[0] if answers else None
