"""One line for each model, and the signature without which two numbers do not compare."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orchestrator
from orchestrator import scoring
from orchestrator.reports.rows import Row
from schemas.records import Attempt, MemoryPeak, Plan


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
    rtfx: float | None  # the median over the repeats
    rtfx_range: tuple[float, float] | None  # lowest and highest; None without repeats
    load_s: float | None
    peak_bytes: int | None
    peak_method: str | None
    peak_bound: str | None
    load_peak_bytes: int | None  # until the model was loaded
    first_peak_bytes: int | None  # during a worker's first inference
    steady_peak_bytes: int | None  # during the later ones
    device_peak_bytes: int | None
    crashes: int  # attempts that took their worker down, also where a retry then succeeded
    disturbed: int  # rows
    device: str | None
    precision: str | None
    first_error: str | None

    @property
    def failed(self) -> int:
        """Rows that ended without a hypothesis."""
        return self.snippets - self.ok - self.not_run


def summarise(rows: Sequence[Row], warm_ups: Mapping[str, Sequence[Attempt]]) -> list[ModelSummary]:
    """One summary for each model, the lowest WER first, those without one last."""
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    found = [_summary(model, own, warm_ups.get(model, ())) for model, own in by_model.items()]
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
            f"repeats:{plan.repeats}",
            f"warm-up:{1 if plan.warm_up else 'none'}",
            f"precision:{'+'.join(precisions)}",
            "batch:1",
            f"device:{'+'.join(devices)}",
        ]
    )


def _coverage(summaries: Sequence[ModelSummary]) -> str:
    """Numbers of a run that did not end compare with nothing."""
    tried = min((one.snippets - one.not_run for one in summaries), default=0)
    return "" if all(not one.not_run for one in summaries) else f"{tried}of"


def _summary(model: str, rows: list[Row], warm_ups: Sequence[Attempt]) -> ModelSummary:
    attempts = [row.attempt for row in rows if row.ok and row.attempt]
    every = [attempt for row in rows for attempt in row.attempts]
    scores = [row.score for row in rows if row.score]
    speeds = _rtfx_of_repeats(rows)
    peaks = [attempt.memory for attempt in every if attempt.memory]
    peak = max(peaks, key=lambda memory: memory.peak_bytes, default=None)
    loads = [attempt.load.total_s for attempt in attempts if attempt.load]
    details = attempts[0].load_details if attempts else {}
    errors = [row.error for row in rows if row.error]
    first = [one.attempt_memory for one in (*warm_ups, *every) if one.nth == 1]
    steady = [one.attempt_memory for one in every if one.nth > 1]
    return ModelSummary(
        model=model,
        snippets=len(rows),
        ok=len(attempts),
        not_run=sum(not row.outcome for row in rows),
        # a model that never answered has no accuracy, good or bad
        wer=scoring.corpus_wer(scores) if attempts else None,
        wer_interval=scoring.corpus_wer_interval(scores) if attempts else None,
        cer=scoring.corpus_cer(scores) if attempts else None,
        audio_s=sum(attempt.audio_s or 0.0 for attempt in attempts),
        rtfx=statistics.median(speeds) if speeds else None,
        rtfx_range=(min(speeds), max(speeds)) if len(speeds) > 1 else None,
        load_s=statistics.median(loads) if loads else None,
        peak_bytes=peak.peak_bytes if peak else None,
        peak_method=peak.method if peak else None,
        peak_bound=peak.bound if peak else None,
        load_peak_bytes=_highest(one.load_memory for one in (*warm_ups, *every)),
        first_peak_bytes=_highest(first),
        steady_peak_bytes=_highest(steady),
        device_peak_bytes=max(
            (device.peak_bytes for one in (*warm_ups, *every) for device in one.device_memory),
            default=None,
        ),
        crashes=sum(row.deaths for row in rows),
        disturbed=sum(any(one.disturbed for one in row.attempts) for row in rows),
        device=attempts[0].device if attempts else None,
        precision=str(details["precision"]) if "precision" in details else None,
        first_error=errors[0] if errors else None,
    )


def _rtfx_of_repeats(rows: Iterable[Row]) -> list[float]:
    """All audio over all time, for each repeat. A retry ran cold and does not count."""
    audio_s: dict[int, float] = {}
    time_s: dict[int, float] = {}
    for row in rows:
        for one in row.attempts:
            if one.outcome == "ok" and one.time_s and one.audio_s and not one.retry:
                audio_s[one.repeat] = audio_s.get(one.repeat, 0.0) + one.audio_s
                time_s[one.repeat] = time_s.get(one.repeat, 0.0) + one.time_s
    return [audio_s[repeat] / time_s[repeat] for repeat in audio_s]


def _highest(peaks: Iterable[MemoryPeak | None]) -> int | None:
    return max((peak.peak_bytes for peak in peaks if peak), default=None)
