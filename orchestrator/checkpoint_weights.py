"""Whether a checkpoint that another program fetched has its weights.

A program that only asked for a tokenizer, or was interrupted, leaves a part of it in the hub cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel


class _Index(BaseModel):
    weight_map: dict[str, str]  # tensor → file


WEIGHTS = "model.safetensors"  # as transformers names them
_BESIDE_WEIGHTS = {".jinja", ".json", ".md", ".model", ".py", ".tiktoken", ".txt"}
_PROSE = {"LICENSE", "NOTICE", "README"}
MAX_INDEX_BYTES = 1 << 25  # with a line for each of some 100,000 tensors


def weights_problem(path: Path, needed: Callable[[Path], bool]) -> str | None:
    """What is missing, in words; None if nothing is known to be. A file is the weights itself.

    needed: whether the model uses a file.
    """
    if not path.is_dir():
        return None
    missing = sorted(name for name in _indexed(path) if not _is_file(path / name))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"of its checkpoint {missing[0]}{more} is not on this machine"
    if not any(_may_be_weights(file) and needed(file) for file in path.rglob("*")):
        return "of its checkpoint only parts without weights are on this machine"
    return None


def _may_be_weights(file: Path) -> bool:
    hidden = file.name.startswith(".")
    return not (hidden or file.suffix in _BESIDE_WEIGHTS or file.name in _PROSE) and _is_file(file)


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a name that is too long
        return path.is_file()
    return False


def _indexed(folder: Path) -> set[str]:
    """Names of the files over which transformers' index spreads the weights, where it is used."""
    found: set[str] = set()
    index = folder / f"{WEIGHTS}.index.json"
    if not _is_file(folder / WEIGHTS):
        with contextlib.suppress(OSError, ValueError):  # the worker will say
            if index.stat().st_size <= MAX_INDEX_BYTES:
                found.update(_Index.model_validate_json(index.read_bytes()).weight_map.values())
    return {name for name in found if name and Path(name).name == name}
