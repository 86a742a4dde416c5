"""The file that some footprints map or read: its pages in the system's cache, or not."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from orchestrator import paths
from orchestrator.checkpoints import warm_cache
from orchestrator.errors import RunFolderError

BLOCK_BYTES = 1 << 20


@contextlib.contextmanager
def probe_file(size_bytes: int) -> Iterator[Path]:
    """A file of that size on the disk of the cache folder (a temporary folder may be in memory)."""
    home = paths.cache_home()
    with contextlib.ExitStack() as stack:
        try:
            home.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(prefix="selftest-", dir=home)
            file = Path(stack.enter_context(folder)) / "probe"
            _fill(file, size_bytes)
        except OSError as error:
            raise RunFolderError(
                f"cannot write {size_bytes >> 20} MiB to {home}: {error.strerror}; make room, set "
                "ASRBENCH_HOME, or test with less: --size"
            ) from error
        yield file


def prepare_cache(file: Path, state: Literal["cold", "warm"] | None) -> None:
    """Drop the file from the system's cache, where that is possible; for "warm", read it again.

    Read again by the controller, its pages are on the controller's account, as a checkpoint's are.
    """
    advise = getattr(os, "posix_fadvise", None)
    if state and advise:
        with file.open("rb") as stream:
            advise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # type: ignore[attr-defined,unused-ignore]
    if state == "warm":
        warm_cache(file)


def _fill(file: Path, size_bytes: int) -> None:
    block = os.urandom(BLOCK_BYTES)
    with file.open("wb", buffering=0) as stream:
        for start in range(0, size_bytes, BLOCK_BYTES):
            stream.write(block[: size_bytes - start])
        os.fsync(stream.fileno())  # only what is on the disk can be dropped from the cache
