"""The record of checkpoints: which commit a revision meant, and what each file has to be.

One JSON file beside the envs. It is written when every file of a checkpoint was hashed and found
right, so a name such as "main" means the same commit tomorrow, and verifying needs no hub.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

import filelock
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from orchestrator import paths
from orchestrator.errors import CheckpointError
from orchestrator.files import write_whole
from orchestrator.stacks import Model

DEFAULT_REVISION = "main"  # what a hub means when no revision is asked for
MAX_FILE_BYTES = 1 << 60
MAX_FILES = 100_000
WAIT_FOR_WRITER_S = 30.0


def _inside(name: str) -> str:
    """A path that stays inside its folder on every platform. Raises ValueError."""
    parts = name.split("/")
    if (
        not name.isprintable()
        or "\\" in name
        or ":" in name  # a drive, or a second stream of a file
        or any(part in ("", ".", "..") or part.endswith((".", " ")) for part in parts)
    ):
        raise ValueError(f"{name!r} is no name for a file inside its folder")
    return name


def belongs(name: str, place: str, without: Sequence[str] = ()) -> bool:
    """Whether a file of a repository is in this place of it: a file, a "folder/", or "" for all.

    without: patterns of names, as a shell has them, where * also takes slashes.
    """
    there = name == place or ((place.endswith("/") or not place) and name.startswith(place))
    return there and not any(fnmatchcase(name, pattern) for pattern in without)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Strict):
    """What one file has to be: by sha256 if it is large, else by its git object."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_inside)]
    size_bytes: int = Field(ge=0, le=MAX_FILE_BYTES, strict=True)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    git_sha1: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None

    @model_validator(mode="after")
    def _one_hash(self) -> Self:
        if (self.sha256 is None) == (self.git_sha1 is None):
            raise ValueError(f"{self.name!r} needs sha256 or git_sha1")
        return self

    @property
    def digest(self) -> str:
        """Its name among the blobs of the hub's cache."""
        return self.sha256 or self.git_sha1 or ""


class CheckpointRecord(_Strict):
    """A checkpoint that was on this machine and right at verified_at."""

    repository: str
    file: str | None = None  # or a "folder/"; None: the whole repository
    revision: str  # as it was asked for
    without: tuple[str, ...] = ()  # patterns of files that were left out
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    licence: str | None = None  # as the hub names it
    verified_at: AwareDatetime
    files: tuple[FileRecord, ...] = Field(min_length=1, max_length=MAX_FILES)

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size_bytes for file in self.files)

    def is_of(self, model: Model) -> bool:
        """Whether this is what the model asks for."""
        own = f"{self.repository}:{self.file}" if self.file else self.repository
        asked = (model.checkpoint, model.revision or DEFAULT_REVISION, model.without)
        return (own, self.revision, self.without) == asked


class _Record(_Strict):
    version: Literal[1] = 1
    checkpoints: tuple[CheckpointRecord, ...] = ()


def read_records() -> tuple[CheckpointRecord, ...]:
    """All of them. Raises CheckpointError naming the file if it is damaged."""
    file = paths.checkpoint_record()
    try:
        return _Record.model_validate_json(file.read_bytes()).checkpoints
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror}") from error
    except ValidationError as error:
        raise CheckpointError(
            f"{file} is damaged; delete it, and `asrbench models download` writes it anew "
            "(what is on this machine is checked, not fetched again)"
        ) from error


def recorded(model: Model) -> CheckpointRecord | None:
    """What is known of its checkpoint. Raises CheckpointError if the file is damaged."""
    return next((one for one in read_records() if one.is_of(model)), None)


def remember(new: CheckpointRecord) -> None:
    """Record it in the place of an earlier one. Raises CheckpointError."""
    with _changing() as records:
        records[:] = [one for one in records if not _same(one, new)] + [new]


def forget(old: CheckpointRecord) -> None:
    """Take it out. Raises CheckpointError."""
    with _changing() as records:
        records[:] = [one for one in records if not _same(one, old)]


def _same(one: CheckpointRecord, other: CheckpointRecord) -> bool:
    return (one.repository, one.file, one.revision, one.without) == (
        other.repository,
        other.file,
        other.revision,
        other.without,
    )


@contextlib.contextmanager
def _changing() -> Iterator[list[CheckpointRecord]]:
    file = paths.checkpoint_record()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(file.with_name(f".{file.name}.lock"), timeout=WAIT_FOR_WRITER_S):
            records = list(read_records())
            yield records
            records.sort(key=lambda one: (one.repository, one.file or "", one.revision))
            text = _Record(checkpoints=tuple(records)).model_dump_json(indent=1, exclude_none=True)
            write_whole(file, text + "\n")
    except filelock.Timeout as error:
        raise CheckpointError(f"{file}: another asrbench holds it; try again") from error
    except OSError as error:
        raise CheckpointError(
            f"cannot write {file}: {error.strerror}; make room, or choose another folder by "
            "ASRBENCH_HOME"
        ) from error
