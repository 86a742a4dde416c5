"""Ctrl-C, and SIGTERM that is to end a run like it: where it may strike, and where it waits."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator

GONE_S = 5.0  # for a killed process to be gone
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def terminate_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, as a shutdown or a service manager sends it, ends a run as cleanly as Ctrl-C."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def interruptions_wait() -> Iterator[None]:
    """They strike when the block is done, in which something is started, or ended within seconds.

    A Popen that is cut in half leaves its child running and its descriptors open, as nobody has
    them yet: what is to end them has to be in place when the block ends.
    """
    if threading.current_thread() is not threading.main_thread():  # they strike there only
        yield
        return
    waiting: list[int] = []

    def note(signum: int, frame: object) -> None:
        waiting.append(signum)

    def strike() -> None:
        for number in waiting[:1]:
            signal.raise_signal(number)

    with contextlib.ExitStack() as ends:
        ends.callback(strike)
        for number in _INTERRUPTIONS:
            # one that is ignored, as in the background of a script, is so for what is started too
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                ends.callback(signal.signal, number, signal.signal(number, note))
        yield


def end(process: subprocess.Popen[str]) -> None:
    """Kill it, if it runs, and wait until it is gone, or cannot be killed."""
    with interruptions_wait(), contextlib.suppress(subprocess.TimeoutExpired):
        process.kill()
        process.wait(GONE_S)
