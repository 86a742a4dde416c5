"""What is still to be tried: pure functions of the plan and of the attempts that hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.snippets.snippet import Snippet
from schemas.records import Attempt, Outcome, Phase

TaskId = tuple[str, str, int]  # snippet, its hash, repeat


@dataclass(frozen=True, slots=True)
class Task:
    """One snippet, once."""

    snippet: Snippet
    repeat: int = 1
    retry: int = 0

    @property
    def id(self) -> TaskId:
        """The same for its retries."""
        return self.snippet.name, self.snippet.sha256, self.repeat


def done_by(attempts: Iterable[Attempt]) -> frozenset[TaskId]:
    """Which tasks they are of."""
    return frozenset((one.snippet, one.snippet_sha256, one.repeat) for one in attempts)


def pending_tasks(snippets: Sequence[Snippet], repeats: int, done: frozenset[TaskId]) -> list[Task]:
    """What has no attempt yet. All snippets once, then all again: a bad minute hits few repeats."""
    return [
        Task(snippet, repeat)
        for repeat in range(1, repeats + 1)
        for snippet in snippets
        if not snippet.error and (snippet.name, snippet.sha256, repeat) not in done
    ]


class Deaths:
    """Of each task the last attempt, if it took its worker down; of the others nothing is kept."""

    def __init__(self, attempts: Iterable[Attempt]) -> None:
        self._last: dict[tuple[str, int], Attempt] = {}
        for attempt in attempts:
            self.note(attempt)

    def note(self, attempt: Attempt) -> None:
        """One more."""
        task = (attempt.snippet, attempt.repeat)
        self._last.pop(task, None)
        if attempt.crash is not None:
            self._last[task] = attempt

    def last_words(self) -> tuple[Outcome, Phase, str]:
        """Of the one that was noted last; there has to be one."""
        attempt = list(self._last.values())[-1]
        return attempt.outcome, attempt.phase, attempt.error or ""

    def ids(self) -> set[TaskId]:
        """Of what took its worker down."""
        return {(name, one.snippet_sha256, repeat) for (name, repeat), one in self._last.items()}

    def retry_tasks(self, snippets: Sequence[Snippet], retries: int, repeats: int) -> list[Task]:
        """Suspects, to be tried again alone."""
        by_name = {snippet.name: snippet for snippet in snippets}
        return [
            Task(by_name[name], repeat, attempt.retry + 1)
            for (name, repeat), attempt in self._last.items()
            if name in by_name
            and attempt.snippet_sha256 == by_name[name].sha256
            and attempt.retry < retries
            and repeat <= repeats
        ]


def shortest(tasks: Sequence[Task]) -> Task:
    """The one that warms a worker up at the least cost."""
    return min(tasks, key=lambda task: task.snippet.duration_s or float("inf"))
