"""Where a model's checkpoint is on this machine, without asking any hub."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.errors import UsageError
from orchestrator.stacks import Model

WARM_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Checkpoint:
    """A model's files. path is None when they are missing, or when the model needs none."""

    path: Path | None
    missing: str | None = None  # why it is missing, and the command that gets it


def find_checkpoint(model: Model, given: Path | None = None) -> Checkpoint:
    """The file or folder given by hand, else the one in the standard hub cache."""
    if given is not None:
        if given.exists():
            return Checkpoint(given.absolute())
        return Checkpoint(None, f"--checkpoint {model.name}={given}: there is no such file")
    if model.checkpoint is None:
        return Checkpoint(None)
    repository, _, file = model.checkpoint.partition(":")
    for snapshot in _snapshots(repository, model.revision):
        wanted = snapshot / file if file else snapshot
        if wanted.exists():
            return _in_hub_cache(wanted)
    get = f"hf download {repository}" + (f" {file}" if file else "")
    get += f" --revision {model.revision}" if model.revision else ""
    return Checkpoint(
        None,
        f"its checkpoint is not on this machine; get it: {get} (from pip install huggingface_hub), "
        f"or name a copy: --checkpoint {model.name}=PATH",
    )


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
                with file.open("rb", buffering=0) as stream:
                    while stream.readinto(buffer):
                        pass


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
    """The standard hub cache. Source: huggingface_hub's environment variables."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"])
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]) / "hub"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "huggingface" / "hub"


def _in_hub_cache(path: Path) -> Checkpoint:
    try:
        paths.require_utf8("its checkpoint", path)
    except UsageError as error:  # nobody may have asked for this model
        return Checkpoint(None, str(error))
    return Checkpoint(path)


def _snapshots(repository: str, revision: str | None) -> list[Path]:
    folder = hub_cache() / f"models--{repository.replace('/', '--')}" / "snapshots"
    if revision:
        return [folder / revision]
    try:  # no revision asked for: the one that was fetched last
        return sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return []
