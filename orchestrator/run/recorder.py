"""Where the loop leaves what happened: first on disk, then on the screen."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.journal import Journal
from orchestrator.views import View


@dataclass(frozen=True)
class Recorder:
    """A run's outputs, and what its models must know of each other."""

    journal: Journal
    view: View
    folder: Path  # the run's
    quarantine: dict[str, str] = field(default_factory=dict)  # accelerator → why

    @property
    def logs(self) -> Path:
        """Where workers' prints go."""
        return self.folder / "logs"


def now() -> str:
    """The time, for records."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
