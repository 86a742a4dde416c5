"""Whether what a worker has loaded came from its env: its host lists, this judges.

Proof against accidents, such as a .pth file, a library that another one finds in a strange place,
or an env that sees the system's packages; a worker that lies is not found out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.platforms import configured_libraries, system_libraries
from schemas.messages import Origins
from schemas.records import Isolation

MAX_NAMED = 10
MAX_CHARS = 500
REMOTE_CODE = "transformers_modules"  # the package that transformers makes of a checkpoint's code
OTHER_PACKAGES = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Expected:
    """What a worker may load besides its env, its interpreter and asrbench's own host."""

    worker: str  # as the host is told
    checkpoint: Path | None = None
    remote_code: bool = False  # its stack declares that the checkpoint's code is run


def judge(origins: Origins, expected: Expected, network: str) -> Isolation:
    """What came from elsewhere, in words: as leaks, or as libraries that the system was given."""
    own = [paths.WORKERS, paths.WORKERS.parent / "schemas"]
    if expected.worker.endswith(".py"):
        own.append(Path(expected.worker).parent)
    if expected.remote_code:
        own += _code_folders(origins, expected.checkpoint)
    modules = {name: file for name, file in origins.modules.items() if not _is_below(file, own)}
    elsewhere = [file for file in origins.libraries if not _is_system(file)]
    given = [file for file in elsewhere if _is_below(file, configured_libraries())]
    leaks = [
        *_module_leaks(modules),
        *(f"import path {folder}" for folder in origins.import_path if not _is_below(folder, own)),
        # an extension module is in both lists
        *(f"library {file}" for file in elsewhere if file not in {*given, *modules.values()}),
    ]
    return Isolation(
        network=network[:MAX_CHARS], leaks=_bounded(leaks), system_libraries=_bounded(given)
    )


def notes(isolation: Isolation) -> list[str]:
    """What a person has to know of it."""
    said = []
    if isolation.leaks:
        said.append(f"not from its env: {'; '.join(isolation.leaks)}")
    if isolation.system_libraries:
        said.append(f"uses this machine's {'; '.join(isolation.system_libraries)}")
    return said


def _module_leaks(modules: dict[str, str]) -> list[str]:
    """One text for each top-level name."""
    first: dict[str, str] = {}
    for name in sorted(modules):
        first.setdefault(name.partition(".")[0], modules[name])
    undeclared = ", which is its checkpoint's own code: its stack does not say remote_code = true"
    return [
        f"module {name} from {file}" + (undeclared if _is_remote(name) else "")
        for name, file in first.items()
    ]


def _code_folders(origins: Origins, checkpoint: Path | None) -> list[Path]:
    """Where a checkpoint's code is: in the checkpoint, and where transformers copied it to."""
    parts = [Path(file).parts for name, file in origins.modules.items() if _is_remote(name)]
    copies = {Path(*part[: part.index(REMOTE_CODE)]) for part in parts if REMOTE_CODE in part}
    return [*copies, *([checkpoint] if checkpoint else [])]


def _is_remote(module: str) -> bool:
    return module.partition(".")[0] == REMOTE_CODE


def _is_system(file: str) -> bool:
    return _is_below(file, system_libraries()) and not OTHER_PACKAGES & set(Path(file).parts)


def _is_below(file: str, folders: Iterable[Path]) -> bool:
    real = Path(os.path.normcase(file))
    return any(real.is_relative_to(os.path.normcase(folder.resolve())) for folder in folders)


def _bounded(texts: Sequence[str]) -> tuple[str, ...]:
    shown = [text[:MAX_CHARS] for text in texts[:MAX_NAMED]]
    more = len(texts) - len(shown)
    return (*shown, f"and {more} more") if more else tuple(shown)
