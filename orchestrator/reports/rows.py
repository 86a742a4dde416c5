"""One row for every model and snippet that was asked for, whatever happened to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.errors import RunFolderError
from orchestrator.scoring import Score, score
from schemas.records import (
    Attempt,
    JournalLine,
    ModelFailed,
    ModelStarted,
    Plan,
    PlannedSnippet,
)

NOT_RUN = "the run ended before its turn; go on with: asrbench orchestrate --resume RUN"


# what fails here says nothing of a model's accuracy
BEFORE_THE_MODEL = ("env", "download", "spawn")


@dataclass(frozen=True)
class Row:
    """What is known of one model on one snippet.

    outcome is empty when nothing was tried and nothing failed. score is None when the recording
    itself is broken, or when no model was there to try it (phases env, download, spawn); a
    hypothesis that is missing for any other reason is scored as the empty text.
    """

    model: str
    snippet: PlannedSnippet
    attempt: Attempt | None
    outcome: str
    phase: str
    error: str | None
    score: Score | None
    clean_score: Score | None

    @property
    def ok(self) -> bool:
        """It has a hypothesis."""
        return self.outcome == "ok"


@dataclass(frozen=True)
class RunState:
    """What a journal amounts to: the last plan, and of each model what still holds."""

    plan: Plan
    keys: dict[str, str]
    attempts: dict[tuple[str, str], Attempt]
    failures: dict[str, ModelFailed]


def replay(lines: Iterable[JournalLine]) -> RunState:
    """Fold a journal. Attempts of an outdated key are dropped; later ones replace earlier ones."""
    plan: Plan | None = None
    keys: dict[str, str] = {}
    attempts: dict[tuple[str, str], Attempt] = {}
    failures: dict[str, ModelFailed] = {}
    for line in lines:
        if isinstance(line, Plan):
            plan = line
        elif isinstance(line, ModelStarted):
            keys[line.model] = line.key
            failures.pop(line.model, None)
        elif isinstance(line, Attempt):
            attempts[line.model, line.snippet] = line
        else:
            failures[line.model] = line
    if plan is None:
        raise RunFolderError("the journal has no plan in it: the run ended before it began")
    snippets = {snippet.name: snippet.sha256 for snippet in plan.snippets}
    holding = {
        where: attempt
        for where, attempt in attempts.items()
        if attempt.key == keys.get(attempt.model)
        and attempt.snippet_sha256 == snippets.get(attempt.snippet)
    }
    return RunState(plan, keys, holding, failures)


def rows_of(state: RunState) -> list[Row]:
    """All rows, models and snippets in the plan's order."""
    return [
        _row(state, model.name, snippet)
        for model in state.plan.models
        for snippet in state.plan.snippets
    ]


def _row(state: RunState, model: str, snippet: PlannedSnippet) -> Row:
    attempt = state.attempts.get((model, snippet.name))
    failure = state.failures.get(model)
    if snippet.error:
        return Row(model, snippet, None, "failed", "decode", snippet.error, None, None)
    if attempt:
        text = None if attempt.phase == "decode" else attempt.text or ""
        return Row(
            model,
            snippet,
            attempt,
            attempt.outcome,
            attempt.phase,
            attempt.error,
            *_scores(snippet, text),
        )
    if failure:
        error = f"not tried: {failure.error}"
        text = None if failure.phase in BEFORE_THE_MODEL else ""
        return Row(
            model, snippet, None, failure.outcome, failure.phase, error, *_scores(snippet, text)
        )
    return Row(model, snippet, None, "", "", NOT_RUN, None, None)


def _scores(snippet: PlannedSnippet, text: str | None) -> tuple[Score | None, Score | None]:
    if text is None:
        return None, None
    clean = snippet.clean_reference
    return (
        score(snippet.reference, text, snippet.language),
        None if clean is None else score(clean, text, snippet.language),
    )
