"""What a journal amounts to: the last plan, and of each model what still holds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.errors import RunFolderError
from schemas.records import (
    Accelerator,
    Attempt,
    BatchCheck,
    JournalLine,
    ModelFailed,
    ModelStarted,
    Plan,
    WorkerEnded,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """An attempt, packed to a fraction of its size as an object: a run may have many thousands."""

    packed: bytes
    fell_back: tuple[str, ...] = ()  # which better accelerators were not used, and why

    def attempt(self) -> Attempt:
        """Made anew at each call: take it once and let it go."""
        return Attempt.model_validate_json(zlib.decompress(self.packed))


def keep(attempt: Attempt, fell_back: tuple[str, ...] = ()) -> Kept:
    """The only way to make one."""
    json = attempt.model_dump_json(exclude_defaults=True)
    return Kept(zlib.compress(json.encode(), level=1), fell_back)


History = dict[int, list[Kept]]  # repeat → its first try and its retries, in order
TextsAlone = dict[int, str | None]  # repeat → its text without its batch, where that is another


@dataclass(frozen=True)
class RunState:
    """Attempts by model and snippet; warm-ups apart, as they count for memory alone."""

    plan: Plan
    histories: dict[tuple[str, str], History]
    warm_ups: dict[str, list[Attempt]]
    ends: list[WorkerEnded]
    failures: dict[str, ModelFailed]
    lost_deaths: dict[str, int]  # of workers, on accelerators that others took over from
    accelerators: dict[str, Accelerator]  # by key
    # of what was transcribed in batches and alone as well: its text alone, if that is another
    checks: dict[str, dict[str, TextsAlone]]  # by model and snippet

    def attempts(self) -> Iterator[Attempt]:
        """All that hold, first tries before their retries."""
        for history in self.histories.values():
            for tries in history.values():
                for kept in tries:
                    yield kept.attempt()


@dataclass
class _Taken:
    plan: Plan | None = None
    started: dict[str, ModelStarted] = field(default_factory=dict)
    accelerators: dict[str, Accelerator] = field(default_factory=dict)
    attempts: list[Kept] = field(default_factory=list)
    checks: list[BatchCheck] = field(default_factory=list)
    ends: list[WorkerEnded] = field(default_factory=list)
    failures: dict[str, ModelFailed] = field(default_factory=dict)

    def take(self, line: JournalLine) -> None:
        if isinstance(line, Plan):
            self.plan = line
        elif isinstance(line, ModelStarted):
            before = self.started.get(line.model)
            if before and before.key not in (line.key, *line.keeps):  # another worker than ended
                self.ends = [end for end in self.ends if end.model != line.model]
            self.started[line.model] = line
            self.accelerators[line.key] = line.accelerator
            self.failures.pop(line.model, None)
        elif isinstance(line, Attempt):
            started = self.started.get(line.model)
            self.attempts.append(keep(line, started.fell_back if started else ()))
        elif isinstance(line, BatchCheck):
            self.checks.append(line)
        elif isinstance(line, WorkerEnded):
            self.ends.append(line)
        else:
            self.failures[line.model] = line

    def holds(self, line: Attempt | BatchCheck) -> bool:
        """Whether its key is not outdated."""
        started = self.started.get(line.model)
        return started is not None and line.key in (started.key, *started.keeps)


def fold(lines: Iterable[JournalLine]) -> RunState:
    """Fold a journal. Attempts of an outdated key or recording are dropped."""
    taken = _Taken()
    for line in lines:
        taken.take(line)
    if taken.plan is None:
        raise RunFolderError("the journal has no plan in it: the run ended before it began")
    snippets = {snippet.name: snippet.sha256 for snippet in taken.plan.snippets}
    histories: dict[tuple[str, str], History] = {}
    warm_ups: dict[str, list[Attempt]] = {}
    lost_deaths: dict[str, int] = {}
    for kept in taken.attempts:
        attempt = kept.attempt()
        if not taken.holds(attempt):
            continue
        if attempt.warm_up:
            warm_ups.setdefault(attempt.model, []).append(attempt)
        elif (
            attempt.snippet_sha256 == snippets.get(attempt.snippet)
            and attempt.repeat <= taken.plan.repeats
        ):
            history = histories.setdefault((attempt.model, attempt.snippet), {})
            tries = history.setdefault(attempt.repeat, [])
            if not attempt.retry:  # measured anew: what was before is replaced
                lost = _deaths_elsewhere(tries, attempt.key)
                lost_deaths[attempt.model] = lost_deaths.get(attempt.model, 0) + lost
                tries.clear()
            tries.append(kept)
    return RunState(
        taken.plan,
        histories,
        warm_ups,
        taken.ends,
        taken.failures,
        lost_deaths,
        taken.accelerators,
        _checks(taken, snippets),
    )


def _checks(taken: _Taken, snippets: dict[str, str]) -> dict[str, dict[str, TextsAlone]]:
    found: dict[str, dict[str, TextsAlone]] = {}
    for check in filter(taken.holds, taken.checks):
        for name, sha256 in check.checked.items():
            if sha256 == snippets.get(name):
                texts = found.setdefault(check.model, {}).setdefault(name, {})
                texts[check.repeat] = check.changed.get(name)
    return found


def _deaths_elsewhere(tries: list[Kept], key: str) -> int:
    """Of workers on other accelerators: what is tried anew there leaves no row of its own."""
    attempts = (kept.attempt() for kept in tries)
    return sum(one.crash is not None for one in attempts if one.key != key)
