"""One line for each model, and the signature without which two numbers do not compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import orchestrator
from orchestrator import scoring
from orchestrator.reports.rows import Row, speaker
from orchestrator.reports.state import RunState
from schemas.records import Attempt, MemoryPeak, Plan, peak_of_both


@dataclass(frozen=True)
class ModelSummary:
    """A model over all its rows. WER is over every scored row, speed over the ok ones.

    Where devices differ, because one died, speed and load are of the one that is named first.
    """

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
    load_peak_bound: str | None
    first_peak_bytes: int | None  # during a worker's first inference
    first_peak_bound: str | None
    steady_peak_bytes: int | None  # during the later ones
    steady_peak_bound: str | None
    device_peak_bytes: int | None
    crashes: int  # deaths and hangs of its workers, whenever, and also where a retry succeeded
    missing_repeats: int  # the most of any of its rows that were tried
    disturbed: int  # rows
    device: str | None
    precision: str | None
    batch: int  # the most snippets at once
    batch_rows: int  # ok rows that were not alone
    batch_checked: int  # snippets of batches that were transcribed alone as well
    batch_changed: int  # of those: whose text was another one then
    first_error: str | None

    @property
    def failed(self) -> int:
        """Rows that ended without a hypothesis."""
        return self.snippets - self.ok - self.not_run


def summarise(rows: Sequence[Row], state: RunState) -> list[ModelSummary]:
    """One summary for each model, the lowest WER first, those without one last."""
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    found = [_summary(model, own, state) for model, own in by_model.items()]
    return sorted(found, key=lambda one: (one.wer is None, one.wer or 0.0, one.model))


def signature(plan: Plan, summaries: Sequence[ModelSummary]) -> str:
    """Everything that a number depends on besides the model, on one line."""
    languages = [snippet.language for snippet in plan.snippets if not snippet.error]
    used = {device for one in summaries if one.device for device in one.device.split("+")}
    devices = sorted(used) or ["none"]
    precisions = sorted({one.precision or "default" for one in summaries if one.ok}) or ["none"]
    return "|".join(
        [
            f"asrbench:{orchestrator.__version__}",
            scoring.scorer_signature(languages),
            f"snippets:{_coverage(summaries)}{len(plan.snippets)}:{plan.snippet_set_sha256[:12]}",
            f"repeats:{_repeats(plan, summaries)}",
            f"warm-up:{1 if plan.warm_up else 'none'}",
            f"precision:{'+'.join(precisions)}",
            f"batch:{_batches(summaries)}",
            f"device:{'+'.join(devices)}",
        ]
    )


def _coverage(summaries: Sequence[ModelSummary]) -> str:
    """Numbers of a run that did not end compare with nothing."""
    tried = min((one.snippets - one.not_run for one in summaries), default=0)
    return "" if all(not one.not_run for one in summaries) else f"{tried}of"


def _batches(summaries: Sequence[ModelSummary]) -> str:
    """The largest of each model, and 1 if some of its rows went alone."""
    sizes = {one.batch for one in summaries if one.ok}
    alone = any(one.batch_rows < one.ok for one in summaries)
    return "+".join(str(size) for size in sorted(sizes | {1} if alone or not sizes else sizes))


def _repeats(plan: Plan, summaries: Sequence[ModelSummary]) -> str:
    missing = max((one.missing_repeats for one in summaries), default=0)
    return f"{plan.repeats - missing}of{plan.repeats}" if missing else f"{plan.repeats}"


@dataclass
class _Speeds:
    """Of the rows that are ok and ran on one device."""

    first: Attempt
    rows: int = 0
    loads_s: list[float] = field(default_factory=list)
    # of those that were never retried: how many, and by repeat rows, audio, time
    timed_rows: int = 0
    sums: dict[int, tuple[int, float, float]] = field(default_factory=dict)

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Those of one row. A retry ran cold: its row counts for no speed."""
        self.rows += 1
        self.loads_s += [one.load.total_s for one in attempts[:1] if one.load]
        if any(one.retry for one in attempts):
            return
        self.timed_rows += 1
        for one in attempts:
            rows, audio_s, time_s = self.sums.get(one.repeat, (0, 0.0, 0.0))
            sums = rows + 1, audio_s + (one.audio_s or 0.0), time_s + (one.time_s or 0.0)
            self.sums[one.repeat] = sums

    def rtfx(self) -> list[float]:
        """All audio over all time, of each repeat that every timed row has: they compare."""
        whole = (sums for sums in self.sums.values() if sums[0] == self.timed_rows)
        return [audio_s / time_s for _, audio_s, time_s in whole if audio_s and time_s]


@dataclass
class _Tally:
    """What a model's attempts add up to; none of them but the first is kept."""

    audio_s: float = 0.0
    peak: MemoryPeak | None = None
    load_peak: MemoryPeak | None = None
    first_peak: MemoryPeak | None = None
    steady_peak: MemoryPeak | None = None
    device_peak_bytes: int | None = None
    batch: int = 1
    batch_rows: int = 0
    disturbed: int = 0
    # by the device that really ran: two in one figure would be no figure
    speeds: dict[str | None, _Speeds] = field(default_factory=dict)

    def add_row(self, row: Row) -> None:
        attempts = row.attempts
        self.disturbed += any(one.disturbed for one in attempts)
        for one in attempts:
            self._add_memory(one)
        if row.ok and (attempt := speaker(attempts)):
            self.audio_s += attempt.audio_s or 0.0
            self.batch = max(self.batch, *(one.batch.size if one.batch else 1 for one in attempts))
            self.batch_rows += any(one.batch and one.batch.size > 1 for one in attempts)
            self.speeds.setdefault(attempt.device, _Speeds(attempt)).add(attempts)

    def add_warm_up(self, attempt: Attempt) -> None:
        self._add_peaks(attempt)

    def _add_memory(self, one: Attempt) -> None:
        self.peak = peak_of_both(self.peak, one.memory)
        if one.nth > 1:
            self.steady_peak = peak_of_both(self.steady_peak, one.attempt_memory)
        self._add_peaks(one)

    def _add_peaks(self, one: Attempt) -> None:
        self.load_peak = peak_of_both(self.load_peak, one.load_memory)
        if one.nth == 1:
            self.first_peak = peak_of_both(self.first_peak, one.attempt_memory)
        for device in one.device_memory:
            self.device_peak_bytes = max(self.device_peak_bytes or 0, device.peak_bytes)

    def by_rows(self) -> list[_Speeds]:
        """The device of most rows first: speed, load and precision are told of that one."""
        return sorted(self.speeds.values(), key=lambda one: -one.rows)


def _summary(model: str, rows: list[Row], state: RunState) -> ModelSummary:
    tally = _Tally()
    for warm_up in state.warm_ups.get(model, ()):
        tally.add_warm_up(warm_up)
    for row in rows:
        tally.add_row(row)
    scores = [row.score for row in rows if row.score]
    devices = tally.by_rows()
    speeds = devices[0].rtfx() if devices else []
    loads_s = devices[0].loads_s if devices else []
    failure = state.failures.get(model)
    deaths = sum(end.crash is not None for end in state.ends if end.model == model)
    deaths += failure is not None and failure.crash is not None
    deaths += state.lost_deaths.get(model, 0)
    attempt, peak = devices[0].first if devices else None, tally.peak
    load, first, steady = tally.load_peak, tally.first_peak, tally.steady_peak
    details = attempt.load_details if attempt else {}
    ok = sum(row.ok for row in rows)
    checks = state.checks.get(model, {})
    return ModelSummary(
        model=model,
        snippets=len(rows),
        ok=ok,
        not_run=sum(not row.outcome for row in rows),
        # a model that never answered has no accuracy, good or bad
        wer=scoring.corpus_wer(scores) if ok else None,
        wer_interval=scoring.corpus_wer_interval(scores) if ok else None,
        cer=scoring.corpus_cer(scores) if ok else None,
        audio_s=tally.audio_s,
        rtfx=statistics.median(speeds) if speeds else None,
        rtfx_range=(min(speeds), max(speeds)) if len(speeds) > 1 else None,
        load_s=statistics.median(loads_s) if loads_s else None,
        peak_bytes=peak.peak_bytes if peak else None,
        peak_method=peak.method if peak else None,
        peak_bound=peak.bound if peak else None,
        load_peak_bytes=load.peak_bytes if load else None,
        load_peak_bound=load.bound if load else None,
        first_peak_bytes=first.peak_bytes if first else None,
        first_peak_bound=first.bound if first else None,
        steady_peak_bytes=steady.peak_bytes if steady else None,
        steady_peak_bound=steady.bound if steady else None,
        device_peak_bytes=tally.device_peak_bytes,
        crashes=deaths + sum(row.deaths for row in rows),
        missing_repeats=max((row.missing_repeats for row in rows), default=0),
        disturbed=tally.disturbed,
        device="+".join(one.first.device for one in devices if one.first.device) or None,
        precision=str(details["precision"]) if "precision" in details else None,
        batch=tally.batch,
        batch_rows=tally.batch_rows,
        batch_checked=len(checks),
        batch_changed=sum(set(texts.values()) != {None} for texts in checks.values()),
        first_error=next((row.error for row in rows if row.error), None),
    )
