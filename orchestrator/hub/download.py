"""Fetch a checkpoint into the standard hub cache: all of it and verified, or not there at all.

A file is fetched beside the blobs under its hash, checked, and renamed. Only when all are there do
they get their names in the snapshot, so an interrupted download is never taken for a checkpoint.
huggingface_hub's own hf_hub_download() deletes what it has of a file when it is interrupted; its
http_get(), which does the transport here, goes on with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Protocol

import filelock

from orchestrator.checkpoint_files import fault, size_words
from orchestrator.checkpoint_record import (
    DEFAULT_REVISION,
    CheckpointRecord,
    FileRecord,
    belongs,
    recorded,
    remember,
)
from orchestrator.checkpoints import hub_cache, repository_folder, snapshot_folder
from orchestrator.errors import CheckpointError, unknown_name
from orchestrator.hub import client
from orchestrator.hub.problems import disk_words
from orchestrator.remote_code import COMMIT
from orchestrator.stacks import Model

Say = Callable[[str], None]


class Progress(Protocol):
    """Told of what is being fetched."""

    def begin(self, total_bytes: int, done_bytes: int) -> None:
        """So much is to come; done_bytes of it were there from an earlier try."""
        ...

    def file(self, name: str, size_bytes: int) -> None:
        """The next file."""
        ...

    def advance(self, size_bytes: int) -> None:
        """So much more came; negative if it has to come again."""
        ...

    def close(self) -> None:
        """No more is fetched, for whatever reason."""
        ...


@dataclass(frozen=True)
class _Blob:
    """A content to be fetched or named, with all the names that it has in the repository."""

    file: FileRecord
    names: tuple[str, ...]
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.file.digest

    @property
    def partial(self) -> Path:
        return self.folder / f"{self.file.digest}.asrbench-incomplete"

    @property
    def had_bytes(self) -> int:
        try:
            return min(self.partial.stat().st_size, self.file.size_bytes)
        except OSError:
            return 0


def download(model: Model, say: Say, progress: Progress) -> Path:
    """Make a model's checkpoint whole, fetching what is missing or damaged; returns where it is.

    What is there is read and compared first. A recorded revision stays at its commit. Raises
    CheckpointError, also for what is wrong with the hub, the network or the disk.
    """
    assert model.checkpoint is not None
    wanted = recorded(model) or _ask(model, say)
    snapshot = snapshot_folder(wanted.repository, wanted.commit)
    if snapshot.is_dir():
        say("reading what is here")
    wrong = {file.name: fault(snapshot / file.name, file) for file in wanted.files}
    if any(wrong.values()):
        with alone(wanted.repository):
            _complete(wanted, [file for file in wanted.files if wrong[file.name]], say, progress)
    _name_revision(wanted)
    remember(wanted.model_copy(update={"verified_at": datetime.now(UTC)}))
    return snapshot / wanted.file if wanted.file else snapshot


def _ask(model: Model, say: Say) -> CheckpointRecord:
    """What the checkpoint should be, by the hub."""
    assert model.checkpoint is not None
    repository, _, place = model.checkpoint.partition(":")
    revision = model.revision or DEFAULT_REVISION
    found = client.announced(repository, revision)
    names = [one.name for one in found.files]
    if not names:
        raise CheckpointError(f"{repository} at {revision} holds no file")
    if len(set(names)) < len(names):
        raise CheckpointError(f"{repository} announces one file twice; nothing of it was used")
    files = tuple(one for one in found.files if belongs(one.name, place, model.without))
    if not files:
        known = _folders(names) if place.endswith("/") else names
        error = unknown_name("folder" if place.endswith("/") else "file", place, known)
        raise CheckpointError(f"{repository} at {found.commit}: {error}")
    gated = ", gated" if found.gated else ""
    say(f"{repository} at {found.commit} ({revision}){gated}; licence: {_licences(model, found)}")
    return CheckpointRecord(
        repository=repository,
        file=place or None,
        revision=revision,
        without=model.without,
        commit=_checked_commit(found.commit, revision, repository),
        licence=found.licence,
        verified_at=datetime.now(UTC),
        files=files,
    )


def _folders(names: Iterable[str]) -> set[str]:
    """As a checkpoint names them, with a slash at the end."""
    return {f"{above}/" for name in names for above in PurePosixPath(name).parents if above.name}


def _licences(model: Model, found: client.Announced) -> str:
    if model.licence and found.licence and model.licence.lower() != found.licence.lower():
        return f"{model.licence} by its stack, {found.licence} by the hub"
    return model.licence or found.licence or "not stated"


def _complete(
    wanted: CheckpointRecord, files: list[FileRecord], say: Say, progress: Progress
) -> None:
    """Fetch what these files need, then give all of them their names."""
    folder = repository_folder(wanted.repository)
    names: dict[str, list[str]] = {}
    for file in files:
        names.setdefault(file.digest, []).append(file.name)
    blobs = [
        _Blob(file, tuple(names[file.digest]), folder / "blobs")
        for file in files
        if names[file.digest][0] == file.name
    ]
    with _disk_in_words():
        lacking = [blob for blob in blobs if fault(blob.path, blob.file)]
        total_bytes = sum(blob.file.size_bytes for blob in lacking)
        done_bytes = sum(blob.had_bytes for blob in lacking)
        _check_room(folder, total_bytes - done_bytes)
        (folder / "blobs").mkdir(parents=True, exist_ok=True)
        if lacking:
            count = f"{len(lacking)} of {len(wanted.files)} files"
            say(f"{count} to fetch, {size_words(total_bytes - done_bytes)}, into {folder}")
            progress.begin(total_bytes, done_bytes)
        try:
            for blob in lacking:
                progress.file(blob.names[0], blob.file.size_bytes)
                _fetch(wanted, blob, progress)
        finally:
            progress.close()
        # first, so that nobody takes for whole what has only some of its names
        remember(wanted.model_copy(update={"verified_at": datetime.now(UTC)}))
        snapshot = snapshot_folder(wanted.repository, wanted.commit)
        own = {snapshot / name for blob in blobs for name in blob.names}
        linked = {os.path.realpath(one) for one in _links(folder / "snapshots") if one not in own}
        for blob in blobs:
            mine = blob in lacking and os.path.realpath(blob.path) not in linked
            _give_names(blob, snapshot, may_move=mine)


def _fetch(wanted: CheckpointRecord, blob: _Blob, progress: Progress) -> None:
    """One content, whole and checked, under its hash."""
    while True:
        resumed = blob.had_bytes > 0
        client.fetch(wanted.repository, wanted.commit, blob.file, blob.partial, progress.advance)
        wrong = fault(blob.partial, blob.file)
        if wrong is None:
            blob.partial.replace(blob.path)
            return
        blob.partial.unlink()
        if not resumed:
            raise CheckpointError(
                f"{wanted.repository}: what came as {blob.names[0]} is not what was announced (it "
                f"{wrong}); it was deleted: run the same command again, or choose another mirror "
                "by HF_ENDPOINT"
            )
        progress.advance(-blob.file.size_bytes)  # what was there before was of no use


def _links(snapshots: Path) -> Iterator[Path]:
    return (path for path in snapshots.rglob("*") if path.is_symlink())


def _give_names(blob: _Blob, snapshot: Path, may_move: bool) -> None:
    """Link the names to the content, or where there are no links put it under them.

    may_move: it was fetched just now, and no other revision has a link to it.
    """
    for number, name in enumerate(blob.names, start=1):
        pointer = snapshot / name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if client.links_wanted() and _link(pointer, blob.path):
            continue
        pointer.unlink(missing_ok=True)  # it may be a link, and be written through
        if number < len(blob.names) or not may_move:
            shutil.copyfile(blob.path, pointer)
        else:
            blob.path.replace(pointer)


def _link(pointer: Path, content: Path) -> bool:
    try:
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(os.path.relpath(content, pointer.parent))
    except OSError:  # Windows without developer mode; some file systems
        return False
    return True


def _name_revision(wanted: CheckpointRecord) -> None:
    """Let other programs that ask for this branch or tag find the commit, if they may."""
    if wanted.revision != wanted.commit:
        ref = repository_folder(wanted.repository) / "refs" / wanted.revision
        with contextlib.suppress(OSError):  # a cache that only an administrator may write
            if ref.exists():  # another program may have moved it on
                return
            ref.parent.mkdir(parents=True, exist_ok=True)  # feature/x
            ref.write_bytes(wanted.commit.encode())


def _checked_commit(commit: str, revision: str, repository: str) -> str:
    if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision) and commit != revision):
        raise CheckpointError(
            f"{repository}: the hub gives no full commit hash for {revision}, or another one; "
            "nothing of it was used"
        )
    return commit


def _check_room(folder: Path, needed_bytes: int) -> None:
    """Raises CheckpointError if the disk has less free."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free_bytes = shutil.disk_usage(there).free
    if needed_bytes > free_bytes:
        raise CheckpointError(
            f"{size_words(needed_bytes)} are to be fetched and {size_words(free_bytes)} are free "
            f"in {hub_cache()}: {size_words(needed_bytes - free_bytes)} are missing. Make room "
            "there, or move the cache to another disk: copy the folder, then set HF_HUB_CACHE=DIR"
        )


@contextlib.contextmanager
def alone(repository: str) -> Iterator[None]:
    """Be the one asrbench that changes this repository in the cache. Raises CheckpointError."""
    folder = hub_cache() / ".locks" / repository_folder(repository).name
    with _disk_in_words():
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / "asrbench.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise CheckpointError(
                f"another asrbench is fetching {repository} just now; wait for it, then run again"
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _disk_in_words() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(disk_words(error)) from error
