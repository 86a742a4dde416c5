"""Delete checkpoints from the hub cache, but for what other models need."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.checkpoint_record import belongs, forget, read_records, recorded
from orchestrator.checkpoints import (
    cached_commit,
    find_checkpoint,
    hub_cache,
    repository_folder,
    snapshot_folder,
)
from orchestrator.errors import CheckpointError
from orchestrator.hub import client
from orchestrator.hub.download import alone
from orchestrator.stacks import Model

_PARTIAL = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\.asrbench-incomplete")


@dataclass(frozen=True)
class Removed:
    """What deleting one model's checkpoint did."""

    freed_bytes: int
    there_was_none: bool
    kept_for: tuple[str, ...]  # models that share some or all of its files


def remove(model: Model, others: Sequence[Model]) -> Removed:
    """Delete what this model alone needs. Raises CheckpointError.

    others: the models that keep theirs.
    """
    assert model.checkpoint is not None
    repository = model.checkpoint.partition(":")[0]
    folder = repository_folder(repository)
    if not folder.is_dir():
        _forget(model, ())
        return Removed(0, there_was_none=True, kept_for=())
    with alone(repository):
        commit = _commit_of(model)
        snapshot = snapshot_folder(repository, commit or "none")
        there = _names_in(snapshot)
        own = _wanted(model, there)
        sharing = [
            other
            for other in others
            if (other.checkpoint or "").partition(":")[0] == repository
            and _commit_of(other) == commit
            and (_is_recorded(other) or find_checkpoint(other).missing is None)
        ]
        doomed = own.difference(*(_wanted(other, there) for other in sharing))
        doomed -= _recorded_elsewhere(model, repository, commit)
        alone_here = not any(
            (one.checkpoint or "").partition(":")[0] == repository
            and find_checkpoint(one).missing is not None
            for one in others
        )
        freed_bytes = _left_over(folder, model, alone_here)
        if commit and doomed:
            names = None if doomed == there else doomed
            freed_bytes += client.delete_cached(hub_cache(), repository, commit, names)
            if doomed & _names_in(snapshot):
                raise CheckpointError(
                    f"huggingface_hub cannot make sense of {folder}: delete that folder by hand"
                )
        _drop_empty(folder, snapshot)
    _forget(model, sharing)
    kept_for = tuple(other.name for other in sharing if _wanted(other, there) & own)
    return Removed(freed_bytes, not own and not freed_bytes, kept_for)


def _forget(model: Model, sharing: Sequence[Model]) -> None:
    known = recorded(model)
    if known and not any(known.is_of(one) for one in sharing):
        forget(known)


def _commit_of(model: Model) -> str | None:
    assert model.checkpoint is not None
    known = recorded(model)
    repository = model.checkpoint.partition(":")[0]
    return known.commit if known else cached_commit(repository, model.revision)


def _wanted(model: Model, names: set[str]) -> set[str]:
    """Which of these files it needs."""
    place = (model.checkpoint or "").partition(":")[2]
    return {name for name in names if belongs(name, place, model.without)}


def _names_in(snapshot: Path) -> set[str]:
    return {
        path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if not path.is_dir()
    }


def _is_recorded(model: Model) -> bool:
    return recorded(model) is not None


def _recorded_elsewhere(model: Model, repository: str, commit: str | None) -> set[str]:
    """Files of checkpoints that are recorded, of stacks that nobody named this time, too."""
    return {
        file.name
        for one in read_records()
        if (one.repository, one.commit) == (repository, commit) and not one.is_of(model)
        for file in one.files
    }


def _left_over(folder: Path, model: Model, alone_here: bool) -> int:
    """Delete what our interrupted downloads left: parts, and contents without a name.

    alone_here: all other models of this repository are whole, so that all parts are of this one.
    """
    freed_bytes = 0
    named = {path.resolve() for path in (folder / "snapshots").rglob("*")}
    known = recorded(model)
    own = {file.digest for file in known.files} if known else set()
    for path in list((folder / "blobs").glob("*")):
        part = _PARTIAL.fullmatch(path.name)
        if part:
            doomed = alone_here or part[1] in own
        else:
            doomed = path.name in own and path.resolve() not in named
        if doomed:
            freed_bytes += path.lstat().st_size
            _delete(path)
    return freed_bytes


def _drop_empty(folder: Path, snapshot: Path) -> None:
    """Take away folders in which nothing is left."""
    if snapshot.is_dir() and not _names_in(snapshot):
        _delete(snapshot)
    if folder.is_dir() and not any(folder.glob("snapshots/*")) and not any(folder.glob("blobs/*")):
        _delete(folder)


def _delete(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise CheckpointError(f"cannot delete {error.filename}: {error.strerror}") from error
