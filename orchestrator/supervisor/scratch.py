"""A worker's own temporary folder, which goes when its processes are gone.

What a worker leaves when it dies is deleted with it; and what one keeps there (compiled kernels,
say) does not speed up the next one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from orchestrator.platforms import leave_to_guardian

HELD_S = 1.0  # Windows needs a moment to let go of a killed process's files


def make_scratch() -> Path:
    """A folder in the system's temporary folder, with a short name; OSError if there is no room."""
    folder = Path(tempfile.mkdtemp(prefix="asrbench-"))
    try:
        leave_to_guardian(folder)
    except BaseException:
        remove_scratch(folder)
        raise
    return folder


def remove_scratch(folder: Path) -> bool:
    """Delete it with all that is in it. Never raises; False if something could not be deleted."""
    limit = time.monotonic() + HELD_S
    _delete(folder)
    while os.path.lexists(folder):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
        with contextlib.suppress(RecursionError):
            _open_up(folder)
        _delete(folder)
    return True


def _delete(folder: Path) -> None:
    with contextlib.suppress(RecursionError):  # a thousand folders in each other
        shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    """Folders may be closed to their owner, and Windows deletes no file that is read-only."""
    _permit(str(folder))
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _permit(os.path.join(parent, name))  # noqa: PTH118 names may be anything


def _permit(path: str) -> None:
    with contextlib.suppress(OSError):
        mode = os.lstat(path).st_mode
        if not stat.S_ISLNK(mode):  # what a link points to is not ours
            os.chmod(path, mode | stat.S_IRWXU)  # noqa: PTH101
