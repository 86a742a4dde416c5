"""A worker dies with its controller, however the controller dies, and dies quickly.

Closing stdin ends an idle host, but one that is deep in a model reads nothing. Linux can have the
kernel send a signal; on macOS a thread watches; on Windows the controller's Job Object does it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

PR_SET_PDEATHSIG = 1
SIGKILL = 9
POLL_S = 1.0


def die_with(parent_pid: int) -> None:
    """End this process as soon as the parent is gone."""
    if sys.platform != "win32":
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
        else:
            threading.Thread(target=_watch, args=(parent_pid,), daemon=True).start()
        if os.getppid() != parent_pid:  # it died before we could ask
            os._exit(1)


def leave_no_core() -> None:
    """A crash writes no core file: that of a large model would take minutes and a full disk."""
    if sys.platform != "win32":
        import resource

        # A core that is piped to a program ignores a limit of 0, but not one of 1, and no file is
        # as small as that. Source: do_coredump() in Linux, core(5).
        limit = 1 if sys.platform == "linux" else 0
        with contextlib.suppress(ValueError, OSError):  # someone allowed even less than 1 before
            resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(POLL_S)
    os._exit(1)
