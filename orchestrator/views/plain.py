"""Plain lines, for logs and pipes; and no lines at all, for --quiet."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from orchestrator.views.text import minutes, printable
from schemas.records import Attempt, ModelFailed


class PlainView:
    """One line per event on a stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._start = time.monotonic()

    def begin(self, models: list[str], snippets: int, audio_s: float) -> None:
        """See View."""
        self._say(f"{', '.join(models)}: {snippets} snippets, {minutes(audio_s)} of audio")

    def model_begins(self, model: str, pending: int, pending_audio_s: float) -> None:
        """See View."""
        snippets = "snippet" if pending == 1 else "snippets"
        self._say(f"{model}: {pending} {snippets} to do, {minutes(pending_audio_s)} of audio")

    def stage(self, model: str, stage: str) -> None:
        """See View."""
        self._say(f"{model}: {stage}")

    def partial(self, model: str, snippet: str, text: str) -> None:
        """Not shown: a line for each would flood a log."""

    def attempt(self, attempt: Attempt) -> None:
        """See View."""
        head = f"{attempt.model}: {printable(attempt.snippet)}: {attempt.outcome}"
        if attempt.outcome == "ok" and attempt.time_s and attempt.audio_s:
            rtfx = attempt.audio_s / attempt.time_s
            self._say(f"{head}, {attempt.time_s:.2f} s (RTFx {rtfx:.1f}): {_short(attempt.text)}")
        else:
            self._say(f"{head} ({attempt.phase}): {_short(attempt.error)}")

    def model_ends(self, model: str, failure: ModelFailed | None) -> None:
        """See View."""
        if failure:
            self._say(f"{model}: {failure.outcome} ({failure.phase}): {_short(failure.error, 500)}")

    def note(self, text: str) -> None:
        """See View."""
        self._say(text)

    def close(self) -> None:
        """See View."""

    def _say(self, text: str) -> None:
        clock = minutes(time.monotonic() - self._start)
        print(f"[{clock}] {printable(text)}", file=self._stream, flush=True)


class QuietView(PlainView):
    """Says nothing."""

    def _say(self, text: str) -> None:
        pass


def _short(text: str | None, limit: int = 160) -> str:
    return printable(text or "", limit)
