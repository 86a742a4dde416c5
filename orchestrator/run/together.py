"""Several snippets at once on a worker that takes batches, and whether that changes their texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.run.batches import Batches
from orchestrator.run.live_worker import LiveWorker
from orchestrator.run.recorder import Recorder, now
from orchestrator.run.tasks import Task, TaskId
from orchestrator.supervisor.channel import WorkerFault
from schemas.records import Attempt, BatchCheck

MAX_REMARK_CHARS = 300


class Together:
    """Of one model's turn on one accelerator."""

    def __init__(
        self, batches: Batches, name: str, key: str, recorder: Recorder, most_faults: int
    ) -> None:
        """most_faults: after so many of them nothing is compared, as each may cost a load."""
        self._faults_left = most_faults
        self._batches = batches
        self._name = name
        self._key = key
        self._recorder = recorder
        self._checked = False
        self._remarks: dict[TaskId, tuple[str, ...]] = {}

    def next(self, live: LiveWorker, tasks: Sequence[Task]) -> list[Task]:
        """What the worker is given now, one task at least."""
        if self._batches.size > 1 and not live.takes_batches:
            self._recorder.note_once(f"{self._name}: takes one snippet at a time, no batches")
            return [tasks[0]]
        return self._batches.next(tasks)

    def attempts(self, live: LiveWorker, batch: Sequence[Task]) -> list[Attempt]:
        """One of each, in the journal. Raises WorkerFault, and then there is none of any."""
        try:
            attempts = live.attempt_together(batch)
        except WorkerFault as fault:
            self._failed(batch, fault)
            raise
        attempts = [self.remarked(one, task) for one, task in zip(attempts, batch, strict=True)]
        for attempt in attempts:
            self._recorder.journal.append(attempt)
            self._recorder.view.attempt(attempt)
        return attempts

    def check(self, live: LiveWorker, batch: Sequence[Task], attempts: Sequence[Attempt]) -> None:
        """Snippets of a batch once more, each alone: all of the first, then the most padded one.

        What was compared is in the journal, also when it raises WorkerFault.
        """
        texts = {one.snippet: one.text for one in attempts if one.batch and one.batch.size > 1}
        those = [task for task in batch if task.snippet.name in texts]
        if self._checked:
            those = those[-1:]
        if not those or self._faults_left == 0:
            return
        if not self._checked:
            self._recorder.view.stage(self._name, "comparing with one by one")
        alone: dict[str, str] = {}
        try:
            for task in those:
                text = live.text_alone(task.snippet)
                if text is not None:
                    alone[task.snippet.name] = text
        except WorkerFault as fault:
            line = fault.message.partition("\n")[0]
            said = f"alone, to compare with its batch: {fault.outcome}: {line}"[:MAX_REMARK_CHARS]
            self._faults_left -= 1
            more = "" if self._faults_left else "; nothing is compared any more"
            self._recorder.view.note(f"{self._name}: {said}{more}")
            raise
        finally:
            if not self._checked:
                self._recorder.view.stage(self._name, "transcribing")
            self._checked = True
            self._record(those, texts, alone)

    def remarked(self, attempt: Attempt, task: Task) -> Attempt:
        """With what became of the batches that the task was in before."""
        remarks = self._remarks.get(task.id, ())
        return attempt.model_copy(update={"notes": attempt.notes + remarks})

    def _record(
        self, those: Sequence[Task], texts: Mapping[str, str | None], alone: Mapping[str, str]
    ) -> None:
        snippets = [task.snippet for task in those]
        hashes = {one.name: one.sha256 for one in snippets if one.name in alone}
        changed = {name: text for name, text in alone.items() if text != texts[name]}
        if hashes:
            check = BatchCheck(
                at=now(),
                model=self._name,
                key=self._key,
                repeat=those[0].repeat,
                checked=hashes,
                changed=changed,
            )
            self._recorder.journal.append(check)

    def _failed(self, batch: Sequence[Task], fault: WorkerFault) -> None:
        line = fault.message.partition("\n")[0]
        ended = f"{len(batch)} at once: {fault.outcome}: {line}"[:MAX_REMARK_CHARS]
        for task in batch:
            self._remarks[task.id] = (*self._remarks.get(task.id, ()), ended)
        self._recorder.view.note(f"{self._name}: {ended}; {self._batches.failed(batch, fault)}")
