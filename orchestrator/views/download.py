"""What a person sees while a checkpoint comes: a bar on a terminal, else a line for each tenth."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from orchestrator.checkpoint_files import size_words
from orchestrator.views.text import printable

LINES = 10


def download_view(label: str) -> DownloadBar | DownloadLines:
    """For stderr; see hub.download.Progress."""
    if sys.stderr.isatty():
        return DownloadBar(label)
    return DownloadLines(label)


class DownloadBar:
    """On a terminal."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._task: TaskID | None = None
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def begin(self, total_bytes: int, done_bytes: int) -> None:
        """See Progress."""
        self._task = self._bar.add_task(self._label, total=total_bytes, completed=done_bytes)
        self._bar.start()

    def file(self, name: str, size_bytes: int) -> None:
        """See Progress."""
        self._bar.console.print(Text(f"{printable(name)}, {size_words(size_bytes)}", style="dim"))

    def advance(self, size_bytes: int) -> None:
        """See Progress."""
        if self._task is not None:
            self._bar.advance(self._task, size_bytes)

    def close(self) -> None:
        """See Progress."""
        self._bar.stop()


@dataclass
class DownloadLines:
    """For logs and pipes."""

    label: str
    _total_bytes: int = 0
    _done_bytes: int = 0
    _told: int = 0
    _stream: TextIO = field(default_factory=lambda: sys.stderr)

    def begin(self, total_bytes: int, done_bytes: int) -> None:
        """See Progress."""
        self._total_bytes, self._done_bytes = total_bytes, done_bytes
        self._told = self._tenths()

    def file(self, name: str, size_bytes: int) -> None:
        """See Progress."""
        self._say(f"fetching {name}, {size_words(size_bytes)}")

    def advance(self, size_bytes: int) -> None:
        """See Progress."""
        self._done_bytes += size_bytes
        if self._tenths() != self._told:
            self._told = self._tenths()
            self._say(f"{size_words(self._done_bytes)} of {size_words(self._total_bytes)}")

    def close(self) -> None:
        """See Progress."""

    def _tenths(self) -> int:
        return LINES * self._done_bytes // max(1, self._total_bytes)

    def _say(self, text: str) -> None:
        print(printable(f"{self.label}: {text}"), file=self._stream, flush=True)
