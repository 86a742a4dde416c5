"""A run's folder in results/: made, found, and held by one process at a time."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import filelock

from orchestrator import paths
from orchestrator.errors import RunFolderError, unknown_name
from orchestrator.files import sync_folder
from orchestrator.platforms import point_latest

DEFAULT_RESULTS = Path("results")
LATEST = "latest"
MIN_FREE_BYTES = 50 << 20


def make_run_folder(results: Path) -> Path:
    """A fresh folder named by the time. Raises UsageError if results cannot be written."""
    paths.require_utf8("--results", results.resolve())
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    try:
        results.mkdir(parents=True, exist_ok=True)
        for suffix in ["", *(f"-{number}" for number in range(2, 100))]:
            folder = results / f"{stamp}{suffix}"
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
        (folder / "logs").mkdir()
        check_space(folder)
    except OSError as error:
        raise RunFolderError(
            f"cannot write to {results}: {error.strerror}; choose another folder with --results"
        ) from error
    return folder


def make_latest(folder: Path) -> None:
    """Let `latest` name a run that can be resumed: its run.json is there."""
    with contextlib.suppress(OSError):  # a convenience; a FAT disk has no links
        point_latest(folder.with_name(LATEST), folder)
    sync_folder(folder.parent)


def check_space(folder: Path) -> None:
    """Raises RunFolderError when the disk is as good as full."""
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise RunFolderError(
            f"only {free >> 20} MB are free where {folder} is; make room or use --results"
        )


def find_run(run: str, results: Path) -> Path:
    """The folder of a run given by its name in results, or by a path: whole, without links.

    A link such as `latest` will name another run tomorrow.
    """
    for folder in (results / run, Path(run)):
        if run and (folder / "run.json").exists():
            paths.require_utf8("the run's folder", folder.resolve())
            return folder.resolve()
    if run and Path(run).is_dir():
        raise RunFolderError(f"{run} is not a run's folder: it has no run.json")
    known = [file.parent.name for file in results.glob("*/run.json")]
    raise unknown_name("run", run, known)


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Be the one process that writes this run. Raises RunFolderError naming the one that does."""
    holder = folder / "holder.json"
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RunFolderError(
            f"{folder} is being written by {_describe(holder)}; wait for it or stop it"
        ) from None
    except OSError as error:
        raise RunFolderError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        _write_holder(holder)
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _write_holder(holder: Path) -> None:
    mine = {"pid": os.getpid(), "host": platform.node()}
    try:
        holder.write_text(json.dumps(mine), encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"cannot write {holder}: {error.strerror}") from error


def _describe(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {int(found['pid'])} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
