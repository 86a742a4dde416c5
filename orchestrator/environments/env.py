"""What an env is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.platforms import venv_python


@dataclass(frozen=True)
class Proof:
    """What a worker had loaded when its env was proved."""

    distributions: list[str]  # of the env: name and version
    system_libraries: tuple[str, ...]  # of the machine, besides the system's own


@dataclass(frozen=True)
class Env:
    """A virtualenv that was proved."""

    folder: Path
    stack: str
    accelerator: str
    python_version: str
    lock_sha256: str
    build_s: float
    stack_folder: Path | None  # None: an earlier version built it, which did not note it

    @property
    def python(self) -> Path:
        """Its interpreter; on Windows a launcher for it."""
        return venv_python(self.folder)
