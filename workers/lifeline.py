"""A worker dies with its controller, however the controller dies.

Closing stdin ends an idle host, but one that is deep in a model reads nothing. Linux can have the
kernel send a signal; on macOS a thread watches; on Windows the controller's Job Object does it.
"""

from __future__ import annotations

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


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(POLL_S)
    os._exit(1)
