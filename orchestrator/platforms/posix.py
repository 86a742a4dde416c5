"""What Linux and macOS share: a process in a session of its own, and its pipes."""

from __future__ import annotations

import sys

assert sys.platform != "win32"

import contextlib
import errno
import io
import os
import resource
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

KILL_WAIT_S = 5.0
NOBODY_READS = (errno.EPIPE,)  # from our stdout
SLICE_S = 0.2


class Pipes:
    """A started process with its three pipes; the parts of ProcessTree that need no measuring."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        with _without_core_dumps():
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                cwd=folder,
                start_new_session=True,  # Ctrl-C is for the controller; killpg reaches its children
            )
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert isinstance(stdin, io.FileIO)
        assert isinstance(stdout, io.FileIO)
        assert isinstance(stderr, io.FileIO)
        self._stdin, self.stdout, self.stderr = stdin, stdout, stderr
        # a blocking write to a worker that no longer reads could only be ended by killing every
        # holder of the pipe's other end, and a grandchild may have escaped
        os.set_blocking(self._stdin.fileno(), False)
        self._poll = select.poll()
        self._poll.register(self._stdin.fileno(), select.POLLOUT)

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    def write(self, data: memoryview, deadline: float) -> None:
        """Write all to stdin. TimeoutError at the deadline; OSError if nobody can read it."""
        while data:
            count = self._stdin.write(data)
            if count:
                data = data[count:]
                continue
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._poll.poll(min(left_s, SLICE_S) * 1000)
            # a forked child may keep the pipe open for its dead parent
            if self._process.returncode is not None:
                raise BrokenPipeError

    def close_stdin(self) -> None:
        """End of requests."""
        self._stdin.close()

    def wait(self, timeout_s: float | None) -> int | None:
        """Exit status, None if still running."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill_group(self) -> None:
        """SIGKILL to the session's process group."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # gone; macOS says the latter for zombies
            self._process.kill()

    def dump_stack(self) -> str | None:
        """SIGABRT: Python's faulthandler prints every thread's stack, also when the GIL is held.

        One that was stopped is sent on, or it would not heed it.
        """
        if self._process.poll() is not None:
            return None
        stopped = False
        with contextlib.suppress(psutil.Error):
            stopped = psutil.Process(self._process.pid).status() == psutil.STATUS_STOPPED
        self._process.send_signal(signal.SIGABRT)
        self._process.send_signal(signal.SIGCONT)
        return "it is stopped: someone sent it SIGSTOP or SIGTSTP" if stopped else None

    def close_pipes(self) -> None:
        """Give the file descriptors back."""
        for pipe in (self._stdin, self.stdout, self.stderr):
            pipe.close()


@contextlib.contextmanager
def _without_core_dumps() -> Iterator[None]:
    """For children: a dump of a model's memory takes minutes and fills the disk.

    Linux ignores a limit of 0 where cores are piped to a program, but not one of 1, and no file is
    as small as that. Source: core(5) and do_coredump() in Linux.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    no_core = 1 if sys.platform == "linux" and hard != 0 else 0
    resource.setrlimit(resource.RLIMIT_CORE, (no_core, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def venv_python(env: Path) -> Path:
    """A virtualenv's interpreter."""
    return env / "bin" / "python"


def quoted(words: list[str]) -> str:
    """One line that a shell takes these words from."""
    return shlex.join(words)


def point_latest(link: Path, target: Path) -> None:
    """Make link a symbolic link to its sibling target, replacing an older one at once."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    fresh.replace(link)
