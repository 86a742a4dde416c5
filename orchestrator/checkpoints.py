"""Where a model's checkpoint is on this machine, without asking any hub.

The standard hub cache has a folder for each repository: `blobs/` with contents named by their hash,
`snapshots/COMMIT/` with links to them under their own names, `refs/` with the commit of a branch.
"""

from __future__ import annotations

import contextlib
import functools
import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.checkpoint_record import (
    DEFAULT_REVISION,
    CheckpointRecord,
    belongs,
    read_records,
)
from orchestrator.checkpoint_weights import weights_problem
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.remote_code import COMMIT
from orchestrator.stacks import Model
from schemas.records import CheckpointProof, CheckpointUsed

WARM_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Checkpoint:
    """A model's files. path is None when they are missing, or when the model needs none."""

    path: Path | None
    problem: str | None = None  # why it is missing
    fix: str | None = None  # the command that gets it
    used: CheckpointUsed | None = None  # what speaks for the files that are there

    @property
    def missing(self) -> str | None:
        """Why it is missing, and the command that gets it."""
        return f"{self.problem}; {self.fix}" if self.fix else self.problem


def find_checkpoint(model: Model, given: Path | None = None) -> Checkpoint:
    """The file or folder given by hand, else the one in the standard hub cache."""
    if given is not None:
        trouble = given_trouble(model.name, given)
        if trouble is None:
            path = given.absolute()
            return Checkpoint(path, used=CheckpointUsed(path=str(path), proof="given"))
        return Checkpoint(None, trouble)
    if model.checkpoint is None:
        return Checkpoint(None)
    try:
        found = _find_in_hub_cache(model, model.checkpoint)
    except (CheckpointError, UsageError) as error:  # nobody may have asked for this model
        return Checkpoint(None, str(error))
    if isinstance(found, Checkpoint):
        return found
    return Checkpoint(
        None,
        found,
        f"get it: asrbench models download {model.name}, "
        f"or name a copy: --checkpoint {model.name}=PATH",
    )


def _find_in_hub_cache(model: Model, checkpoint: str) -> Checkpoint | str:
    """It, or why it is missing. Raises CheckpointError or UsageError."""
    records = read_records()
    repository, _, file = checkpoint.partition(":")
    known = next((one for one in records if one.is_of(model)), None)
    problem = "its checkpoint is not on this machine"
    if known is not None:
        snapshot = snapshot_folder(known.repository, known.commit)
        lacking = missing_files(known, snapshot)
        if not lacking:
            return _in_hub_cache(snapshot / file if file else snapshot, known.commit, known)
        if len(lacking) < len(known.files):
            return f"{len(lacking)} of {len(known.files)} files of its checkpoint are missing"
        return problem
    for snapshot in _snapshots(repository, model.revision):
        wanted = snapshot / file if file else snapshot
        if wanted.exists() and not _is_a_part(snapshot, repository, file, records):
            lacks = weights_problem(wanted, functools.partial(_needed, model, snapshot))
            if lacks is None:
                return _in_hub_cache(wanted, snapshot.name)
            problem = lacks
    return problem


def _needed(model: Model, snapshot: Path, file: Path) -> bool:
    return belongs(file.relative_to(snapshot).as_posix(), "", model.without)


def given_trouble(model: str, path: Path) -> str | None:
    """Why a checkpoint that is given by hand cannot be used; None if it can be."""
    try:
        path.stat()
    except FileNotFoundError:
        return f"--checkpoint {model}={path}: there is no such file or folder"
    except OSError as error:
        return f"--checkpoint {model}={path}: {error.strerror}"
    return None


def missing_files(record: CheckpointRecord, snapshot: Path) -> list[str]:
    """Those of its files that are not there, or have another size."""
    return [file.name for file in record.files if _size_of(snapshot / file.name) != file.size_bytes]


def repository_folder(repository: str) -> Path:
    """Where the hub's cache keeps a repository."""
    return hub_cache() / f"models--{repository.replace('/', '--')}"


def snapshot_folder(repository: str, commit: str) -> Path:
    """Where the hub's cache keeps one revision of it, with the files' own names."""
    return repository_folder(repository) / "snapshots" / commit


def cached_commit(repository: str, revision: str | None) -> str | None:
    """The commit that the cache has for a revision; None if it has none."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    with contextlib.suppress(OSError, UnicodeDecodeError):
        ref = repository_folder(repository) / "refs" / (revision or DEFAULT_REVISION)
        commit = ref.read_text(encoding="utf-8").strip()
        if COMMIT.fullmatch(commit):
            return commit
    return None


def warm_cache(path: Path) -> None:
    """Read the files once, so that they are in the page cache before a worker starts.

    Otherwise load time and memory depend on who read them last: a cold read is slower, and its
    page cache is charged to the worker's cgroup.
    """
    files = path.rglob("*") if path.is_dir() else [path]
    buffer = bytearray(WARM_BLOCK_BYTES)
    for file in files:
        with contextlib.suppress(OSError):  # the worker will say what is wrong with it
            if file.is_file():
                left = file.stat().st_size  # 0 of what is made as it is read, which may not end
                with file.open("rb", buffering=0) as stream:
                    while left > 0 and (count := stream.readinto(buffer)):
                        left -= count


def fingerprint(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of each file: whether a checkpoint was replaced under its path."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            status = file.stat()
            found.append((file.name, status.st_size, status.st_mtime_ns))
    return found


def hub_cache() -> Path:
    """The standard hub cache. Source: huggingface_hub's constants.py."""
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if os.environ.get(name):
            return Path(os.path.expandvars(os.environ[name])).expanduser().absolute() / below
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "huggingface" / "hub"


def _in_hub_cache(path: Path, commit: str, record: CheckpointRecord | None = None) -> Checkpoint:
    paths.require_utf8("its checkpoint", path)
    proof: CheckpointProof = "verified" if record else "unverified"
    at = record.verified_at if record else None
    used = CheckpointUsed(path=str(path), proof=proof, commit=commit, verified_at=at)
    return Checkpoint(path, used=used)


def _snapshots(repository: str, revision: str | None) -> list[Path]:
    folder = repository_folder(repository) / "snapshots"
    if revision:
        return [folder / revision, folder / (cached_commit(repository, revision) or revision)]
    try:  # no revision asked for: the one that was fetched last
        return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []


def _is_a_part(
    snapshot: Path, repository: str, place: str, records: tuple[CheckpointRecord, ...]
) -> bool:
    """Whether only some of it was fetched, so that its existence says nothing of the rest."""
    here = [one for one in records if (one.repository, one.commit) == (repository, snapshot.name)]
    smaller = [one for one in here if one.file and one.file != place and belongs(one.file, place)]
    of_many = not place or place.endswith("/")
    thinned = [one for one in here if one.without and place.startswith(one.file or "")]
    return bool(smaller or (of_many and thinned))


def _size_of(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
