"""One row for every model and snippet that was asked for, whatever happened to it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.reports.blame import worst
from orchestrator.reports.state import Kept, RunState
from orchestrator.scoring import Score, score
from orchestrator.supervisor.isolation import notes as isolation_notes
from schemas.records import Attempt, PlannedSnippet

NOT_RUN = "the run ended before its turn; go on with: asrbench orchestrate --resume RUN"

# what fails here says nothing of a model's accuracy
BEFORE_THE_MODEL = ("env", "download", "spawn")


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one model on one snippet.

    outcome is empty when nothing was tried and nothing failed. score is None when the recording
    itself is broken, or when no model was there to try it (phases env, download, spawn); a
    hypothesis that is missing for any other reason is scored as the empty text.
    """

    model: str
    snippet: PlannedSnippet
    kept: tuple[Kept, ...]  # the attempts, one for each repeat
    outcome: str
    phase: str
    error: str | None
    score: Score | None
    clean_score: Score | None
    deaths: int = 0  # tries that took their worker down, also where a later one succeeded
    blame: str | None = None
    notes: tuple[str, ...] = ()
    time_s: float | None = None  # the median over the repeats, without retries if there are others
    missing_repeats: int = 0  # of a row that was tried
    fell_back: tuple[str, ...] = ()  # which better accelerators it did not run on, and why

    @property
    def ok(self) -> bool:
        """It has a hypothesis."""
        return self.outcome == "ok"

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """One for each repeat. Made anew at each call, see Kept."""
        return tuple(kept.attempt() for kept in self.kept)

    @property
    def attempt(self) -> Attempt | None:
        """The one that speaks for the row."""
        return speaker(self.attempts)


def speaker(attempts: Iterable[Attempt]) -> Attempt | None:
    """Of the attempts of a row: the first repeat that failed, else the first."""
    return min(attempts, key=lambda attempt: attempt.outcome == "ok", default=None)


def rows_of(state: RunState) -> list[Row]:
    """All rows, models and snippets in the plan's order."""
    return [
        _row(state, model.name, snippet)
        for model in state.plan.models
        for snippet in state.plan.snippets
    ]


def _row(state: RunState, model: str, snippet: PlannedSnippet) -> Row:
    failure = state.failures.get(model)
    if snippet.error:
        return Row(model, snippet, (), "failed", "decode", snippet.error, None, None)
    if state.histories.get((model, snippet.name)):
        return _tried(state, model, snippet)
    if failure:
        error = f"not tried: {failure.error}"
        text = None if failure.phase in BEFORE_THE_MODEL else ""
        return Row(
            model, snippet, (), failure.outcome, failure.phase, error, *_scores(snippet, text)
        )
    return Row(model, snippet, (), "", "", NOT_RUN, None, None)


def _tried(state: RunState, model: str, snippet: PlannedSnippet) -> Row:
    kept = [tries for _, tries in sorted(state.histories[model, snippet.name].items())]
    histories = [[one.attempt() for one in tries] for tries in kept]
    last = [tries[-1] for tries in histories]
    last_kept = [tries[-1] for tries in kept]
    attempt = speaker(last)
    assert attempt is not None
    text = None if attempt.phase == "decode" else attempt.text or ""
    score, clean_score = _scores(snippet, text)
    ends = [end for end in state.ends if (end.model, end.after) == (model, snippet.name)]
    warm = [one for one in last if not one.retry]
    times = [one.time_s for one in warm or last if one.time_s is not None]
    texts = {one.text for one in last if one.outcome == "ok"}
    remarks = [f"its repeats gave {len(texts)} different texts"] if len(texts) > 1 else []
    missing = state.plan.repeats - len(kept)
    if missing:
        failure = state.failures.get(model)
        why = failure.error if failure else NOT_RUN
        remarks.append(f"{missing} of {state.plan.repeats} repeats are missing: {why}")
    return Row(
        model=model,
        snippet=snippet,
        kept=tuple(last_kept),
        outcome=attempt.outcome,
        phase=attempt.phase,
        error=attempt.error,
        score=score,
        clean_score=clean_score,
        deaths=sum(one.crash is not None for tries in histories for one in tries),
        blame=worst(histories),
        notes=(
            *attempt.notes,
            *_cut_off(attempt),
            *_text_alone(state, attempt),
            *(isolation_notes(attempt.isolation) if attempt.isolation else ()),
            *remarks,
            *(f"{end.phase}: {end.error}" for end in ends),
        ),
        time_s=statistics.median(times) if times else None,
        missing_repeats=missing,
        fell_back=next(one.fell_back for one in last_kept if one.attempt() == attempt),
    )


def _cut_off(attempt: Attempt) -> list[str]:
    """What its worker told of answers that were longer than they may be."""
    count = attempt.details.get("cut_off")
    said = f"{count} of its pieces reached the limit of an answer's length: text may be missing"
    return [said] if isinstance(count, int) and count > 0 else []


def _text_alone(state: RunState, attempt: Attempt) -> list[str]:
    """Its other text, if the batch had an influence on it."""
    if attempt.batch is None:
        return []
    texts = state.checks.get(attempt.model, {}).get(attempt.snippet, {})
    text = texts.get(attempt.repeat)
    return [] if text is None else [f"transcribed alone its text is: {text}"]


def _scores(snippet: PlannedSnippet, text: str | None) -> tuple[Score | None, Score | None]:
    if text is None:
        return None, None
    clean = snippet.clean_reference
    return (
        score(snippet.reference, text, snippet.language),
        None if clean is None else score(clean, text, snippet.language),
    )
