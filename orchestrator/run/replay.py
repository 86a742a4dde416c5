"""One model on one snippet of an earlier run once more, alone: to look at how it ends.

Nothing of the run is changed: what happens is recorded in a folder of its own below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.environments.choice import Asked
from orchestrator.errors import RunFolderError, UsageError, unknown_name
from orchestrator.journal import Journal, read_journal
from orchestrator.reports.state import fold
from orchestrator.run.chain import run_model
from orchestrator.run.orchestrate import prepare, recorded_options
from orchestrator.run.recorder import Recorder, now
from orchestrator.snippets.snippet import Snippet
from orchestrator.views import View
from schemas.records import Accelerator, Attempt, ModelFailed, WorkerEnded

FOLDER = "replays"

End = Attempt | WorkerEnded | ModelFailed


@dataclass(frozen=True)
class Replayed:
    """What was recorded, in order, and where."""

    ends: list[End]
    folder: Path

    @property
    def ok(self) -> bool:
        """Whether it was tried, and nothing went wrong this time."""
        return bool(self.ends) and all(
            isinstance(end, Attempt) and end.outcome == "ok" for end in self.ends
        )


def replay(
    run: Path, model: str, snippet: str | None, view: View, accelerator: Asked | None = None
) -> Replayed:
    """snippet: None takes the shortest one, for a model that dies while it loads.

    accelerator: None for the one that the row ran on, else as the run was asked for.
    Raises UsageError for a model or snippet that is not in the run, or a broken recording.
    """
    options = recorded_options(run)
    known = options.models or ()
    if model not in known:
        raise unknown_name("model of this run", model, known)
    asked = accelerator or _accelerator_of(run, model, snippet) or options.accelerator
    alone = options.model_copy(
        update={
            "models": (model,),
            "retries": 0,
            "repeats": 1,
            "warm_up": False,
            "accelerator": asked,
        }
    )
    prepared = prepare(alone)
    chosen = _choose(prepared.snippets, snippet)
    folder = _fresh_folder(run)
    journal = Journal(folder / "journal.jsonl")
    try:
        run_model(prepared.jobs[0], [chosen], lambda: (), alone, Recorder(journal, view, folder))
    finally:
        view.close()
        journal.close()
    lines = read_journal(folder / "journal.jsonl")
    return Replayed([line for line in lines if isinstance(line, End)], folder)


def _accelerator_of(run: Path, model: str, snippet: str | None) -> Accelerator | None:
    """Which one the row ran on, if it was tried."""
    state = fold(read_journal(run / "journal.jsonl"))
    history = state.histories.get((model, snippet or ""), {})
    keys = [kept.attempt().key for tries in history.values() for kept in tries[-1:]]
    return state.accelerators.get(keys[-1]) if keys else None


def _choose(snippets: list[Snippet], name: str | None) -> Snippet:
    if name is None:
        usable = [one for one in snippets if not one.error]
        if not usable:
            raise UsageError("none of the run's recordings can be used; see its results.csv")
        return min(usable, key=lambda one: one.duration_s or float("inf"))
    by_name = {one.name: one for one in snippets}
    if name not in by_name:
        raise unknown_name("snippet of this run", name, by_name)
    chosen = by_name[name]
    if chosen.error:
        raise UsageError(f"{name}: {chosen.error}; no model can be tried on it")
    return chosen


def _fresh_folder(run: Path) -> Path:
    stamp = now().replace(":", "-")
    folder = run / FOLDER / stamp
    try:
        (folder / "logs").mkdir(parents=True)
    except OSError as error:
        raise RunFolderError(f"cannot make {folder}: {error.strerror}") from error
    return folder
