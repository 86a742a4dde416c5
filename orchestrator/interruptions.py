"""Ctrl-C, and SIGTERM that is to end a run like it: where it may strike, and where it waits."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
    before: dict[int, Any] = {}
    over = False

    def note(signum: int, frame: object) -> None:
        if not over:
            waiting.append(signum)
        elif callable(before[signum]):  # the other one struck while this one was put back
            before[signum](signum, frame)

    def strike() -> None:
        for number in waiting[:1]:
            signal.raise_signal(number)

    try:
        with contextlib.ExitStack() as ends:
            ends.callback(strike)
            for number in _INTERRUPTIONS:
                before[number] = signal.getsignal(number)
                # one that is ignored, as in the background of a script, is so for what is started
                if before[number] not in (signal.SIG_IGN, None):
                    ends.callback(signal.signal, number, before[number])
                    signal.signal(number, note)
            yield
    finally:
        over = True


def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """What it said, and its status. An interruption at any moment ends it, too.

    Raises OSError, subprocess.TimeoutExpired.
    """
    with contextlib.ExitStack() as ends:
        with interruptions_wait():
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
            )
            for pipe in filter(None, (process.stdout, process.stderr)):
                ends.callback(pipe.close)  # not by Popen's own end, which waits without a limit
            ends.callback(end, process)
        stdout, stderr = process.communicate(timeout=timeout_s)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def end(process: subprocess.Popen[str]) -> None:
    """Kill it and what it started, if it runs, and wait until it is gone, or cannot be killed.

    On a terminal all of them hear Ctrl-C; of SIGTERM, or a signal to asrbench alone, only it does.
    """
    with interruptions_wait(), contextlib.suppress(subprocess.TimeoutExpired):
        if process.poll() is None:
            _kill_with_what_it_started(process)
        process.wait(GONE_S)


def _kill_with_what_it_started(process: subprocess.Popen[str]) -> None:
    import psutil  # here, as every command imports this module, --help too

    below: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for one in below:
        with contextlib.suppress(psutil.Error):
            one.kill()
