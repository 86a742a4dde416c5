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
    said: set[str] = field(default_factory=set)

    @property
    def logs(self) -> Path:
        """Where workers' prints go."""
        return self.folder / "logs"

    def note_once(self, text: str) -> None:
        """Tell what is true of every worker, or of each of a model's, a single time."""
        if text not in self.said:
            self.said.add(text)
            self.view.note(text)


def now() -> str:
    """The time, for records."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
