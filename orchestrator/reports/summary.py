"""One line for each model, and the signature without which two numbers do not compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import orchestrator
from orchestrator import scoring
from orchestrator.reports.rows import Row
from schemas.records import Plan


@dataclass(frozen=True)
class ModelSummary:
    """A model over all its rows. WER is over every scored row, speed over the ok ones."""

    model: str
    snippets: int
    ok: int
    not_run: int
    wer: float | None
    wer_interval: tuple[float, float] | None
    cer: float | None
    audio_s: float
    rtfx: float | None
    load_s: float | None
    peak_bytes: int | None
    peak_method: str | None
    device: str | None
    precision: str | None
    first_error: str | None

    @property
    def failed(self) -> int:
        """Rows that ended without a hypothesis."""
        return self.snippets - self.ok - self.not_run


def summarise(rows: Sequence[Row]) -> list[ModelSummary]:
    """One summary for each model, the lowest WER first, those without one last."""
    models = dict.fromkeys(row.model for row in rows)
    found = [_summary(model, [row for row in rows if row.model == model]) for model in models]
    return sorted(found, key=lambda one: (one.wer is None, one.wer or 0.0, one.model))


def signature(plan: Plan, summaries: Sequence[ModelSummary]) -> str:
    """Everything that a number depends on besides the model, on one line."""
    languages = [snippet.language for snippet in plan.snippets if not snippet.error]
    devices = sorted({one.device for one in summaries if one.device}) or ["none"]
    precisions = sorted({one.precision or "default" for one in summaries if one.ok}) or ["none"]
    return "|".join(
        [
            f"asrbench:{orchestrator.__version__}",
            scoring.scorer_signature(languages),
            f"snippets:{_coverage(summaries)}{len(plan.snippets)}:{plan.snippet_set_sha256[:12]}",
            "repeats:1",
            "warm-up:none",
            f"precision:{'+'.join(precisions)}",
            "batch:1",
            f"device:{'+'.join(devices)}",
        ]
    )


def _coverage(summaries: Sequence[ModelSummary]) -> str:
    """Numbers of a run that did not end compare with nothing."""
    tried = min((one.snippets - one.not_run for one in summaries), default=0)
    return "" if all(not one.not_run for one in summaries) else f"{tried}of"


def _summary(model: str, rows: list[Row]) -> ModelSummary:
    attempts = [row.attempt for row in rows if row.ok and row.attempt]
    scores = [row.score for row in rows if row.score]
    audio_s = sum(attempt.audio_s or 0.0 for attempt in attempts)
    time_s = sum(attempt.time_s or 0.0 for attempt in attempts)
    peaks = [row.attempt.memory for row in rows if row.attempt and row.attempt.memory]
    peak = max(peaks, key=lambda memory: memory.peak_bytes, default=None)
    loads = [attempt.load.total_s for attempt in attempts if attempt.load]
    details = attempts[0].load_details if attempts else {}
    errors = [row.error for row in rows if row.error]
    return ModelSummary(
        model=model,
        snippets=len(rows),
        ok=len(attempts),
        not_run=sum(not row.outcome for row in rows),
        # a model that never answered has no accuracy, good or bad
        wer=scoring.corpus_wer(scores) if attempts else None,
        wer_interval=scoring.corpus_wer_interval(scores) if attempts else None,
        cer=scoring.corpus_cer(scores) if attempts else None,
        audio_s=audio_s,
        rtfx=audio_s / time_s if time_s else None,
        load_s=statistics.median(loads) if loads else None,
        peak_bytes=peak.peak_bytes if peak else None,
        peak_method=peak.method if peak else None,
        device=attempts[0].device if attempts else None,
        precision=str(details["precision"]) if "precision" in details else None,
        first_error=errors[0] if errors else None,
    )
