"""The live view: a line for each model, and what is being heard right now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.views.text import minutes, printable
from schemas.records import Attempt, ModelFailed

REFRESH_PER_S = 4  # each refresh takes a millisecond of the core that the worker does not use
BAR_WIDTH = 14


@dataclass
class _Line:
    """What is known of one model."""

    stage: str = "waiting"
    ended: int = 0
    pending: int = 0
    pending_audio_s: float = 0.0
    errors: int = 0
    audio_s: float = 0.0
    time_s: float = 0.0
    began: float | None = None
    took_s: float | None = None

    @property
    def rtfx(self) -> float | None:
        """Over the snippets so far."""
        return self.audio_s / self.time_s if self.time_s else None

    def expected_s(self) -> float | None:
        """Time that the rest should take at the speed so far."""
        if not self.rtfx:
            return None
        return max(0.0, self.pending_audio_s - self.audio_s) / self.rtfx


@dataclass
class LiveView:
    """Draws on a terminal; see View."""

    console: Console
    _lines: dict[str, _Line] = field(default_factory=dict)
    _now: str = ""
    _live: Live | None = None

    def begin(self, models: list[str], snippets: int, audio_s: float) -> None:
        """See View."""
        self._lines = {model: _Line(pending=snippets, pending_audio_s=audio_s) for model in models}
        self._live = Live(
            console=self.console,
            get_renderable=self._draw,
            refresh_per_second=REFRESH_PER_S,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def model_begins(self, model: str, pending: int, pending_audio_s: float) -> None:
        """See View."""
        line = self._lines[model]
        line.pending, line.pending_audio_s = pending, pending_audio_s

    def stage(self, model: str, stage: str) -> None:
        """See View."""
        line = self._lines[model]
        line.stage = stage
        line.began = line.began or time.monotonic()

    def partial(self, model: str, snippet: str, text: str) -> None:
        """See View."""
        self._now = f"{printable(snippet, 40)}  {printable(text[-300:])}"

    def attempt(self, attempt: Attempt) -> None:
        """See View."""
        line = self._lines[attempt.model]
        line.ended += 1
        if attempt.outcome == "ok":
            line.audio_s += attempt.audio_s or 0.0
            line.time_s += attempt.time_s or 0.0
            self._now = f"{printable(attempt.snippet, 40)}  {printable(attempt.text or '', 300)}"
        else:
            line.errors += 1
            self._now = f"{printable(attempt.snippet, 40)}  {attempt.outcome}"

    def model_ends(self, model: str, failure: ModelFailed | None) -> None:
        """See View."""
        line = self._lines[model]
        line.stage = failure.outcome if failure else "done"
        line.errors += line.pending - line.ended if failure else 0
        line.took_s = time.monotonic() - line.began if line.began else 0.0
        self._now = ""

    def note(self, text: str) -> None:
        """See View."""
        self.console.print(Text(printable(text), style="dim"))

    def close(self) -> None:
        """See View."""
        if self._live:
            self._live.stop()
            self._live = None

    def _draw(self) -> RenderableType:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("Model", no_wrap=True)
        for heading in ("Stage", "Snippets", "", "RTFx", "Errors", "Elapsed", "Left"):
            table.add_column(heading, no_wrap=True)
        for model, line in self._lines.items():
            table.add_row(model, *_cells(line))
        now = Text(self._now, style="dim", no_wrap=True, overflow="ellipsis")
        return Group(table, now)


def _cells(line: _Line) -> list[RenderableType]:
    elapsed = line.took_s
    if elapsed is None and line.began is not None:
        elapsed = time.monotonic() - line.began
    expected = line.expected_s() if line.took_s is None else None
    return [
        line.stage,
        ProgressBar(total=max(1, line.pending), completed=line.ended, width=BAR_WIDTH),
        f"{line.ended}/{line.pending}",
        "" if line.rtfx is None else f"{line.rtfx:.1f}",
        Text(str(line.errors) if line.errors else "", style="red"),
        "" if elapsed is None else minutes(elapsed),
        "" if expected is None else minutes(expected),
    ]
