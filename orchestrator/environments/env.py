"""What an env is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.platforms import venv_python
from schemas.records import Accelerator


def site_packages(folder: Path) -> list[Path]:
    """Where a virtualenv has its packages; one folder, if it is whole."""
    return [*folder.glob("lib/python3.*/site-packages"), *folder.glob("Lib/site-packages")]


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
    accelerator: Accelerator
    python_version: str
    lock_sha256: str
    build_s: float
    target: str | None  # the GPU that it was built for, where not for any
    stack_folder: Path | None  # None: an earlier version built it, which did not note it
    torch_table: Path | None = None  # where it was said which torch it gets
    variables: dict[str, str] = field(default_factory=dict)  # that its workers run with

    @property
    def minor(self) -> int:
        """Of its Python 3."""
        return int(self.python_version.split(".")[1])

    @property
    def python(self) -> Path:
        """Its interpreter; on Windows a launcher for it."""
        return venv_python(self.folder)
