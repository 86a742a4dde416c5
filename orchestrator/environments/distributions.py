"""Which distributions a worker's modules belong to."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

MAX_NAMED = 100


def distributions(packages: dict[str, str]) -> list[str]:
    """Name, version and folder of what top-level modules came from; packages: module → file."""
    folders: dict[Path, set[str]] = {}
    for name, file in packages.items():
        path = Path(file)
        top = path.parent if path.stem == "__init__" else path
        folders.setdefault(top.parent, set()).add(name)
    found = {
        f"{one.name} {one.version} from {folder}"
        for folder, names in folders.items()
        for one in importlib.metadata.distributions(path=[str(folder)])
        if not names.isdisjoint(_tops(one))
    }
    return sorted(found, key=str.lower)[:MAX_NAMED]


def _tops(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    """The top-level modules that it installed."""
    for file in distribution.files or []:
        yield file.parts[0].partition(".")[0]
