"""How many snippets a worker is given at once, and what is not given together with others.

Out of memory halves the size for all that follow. A batch that fails in another way has its
snippets tried alone, where it shows which of them is to blame.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.run.options import BatchSize
from orchestrator.run.tasks import Task, TaskId
from orchestrator.supervisor.channel import WorkerFault
from schemas.records import Accelerator

# "auto" begins with this: beyond it CPUs gain nothing, and accelerators little
AUTO_ON_CPU = 8
AUTO_ON_OTHERS = 32


class Batches:
    """Of one model's turn on one accelerator."""

    def __init__(self, asked: BatchSize, accelerator: Accelerator, most_faults: int) -> None:
        """most_faults: after so many, other than for memory, everything goes alone."""
        auto = AUTO_ON_CPU if accelerator == "cpu" else AUTO_ON_OTHERS
        self.size = auto if asked == "auto" else asked
        self._faults_left = most_faults
        self._alone: set[TaskId] = set()

    def in_order(self, tasks: Sequence[Task]) -> list[Task]:
        """The longest first, as a batch is padded to its longest, and memory fails early then."""
        if self.size == 1:
            return list(tasks)
        return sorted(tasks, key=lambda task: (task.repeat, -(task.snippet.duration_s or 0.0)))

    def next(self, tasks: Sequence[Task]) -> list[Task]:
        """From the head of what is left: tasks of one repeat, or the first alone."""
        found: list[Task] = []
        for task in tasks:
            fits = task.id not in self._alone and task.repeat == tasks[0].repeat
            if len(found) == self.size or not fits:
                break
            found.append(task)
        return found or [tasks[0]]

    def failed(self, batch: Sequence[Task], fault: WorkerFault) -> str:
        """Learn from it. Returns how it goes on, in words."""
        if fault.outcome == "out_of_memory":
            self.size = min(self.size, len(batch) // 2)
            return f"goes on with {self.size} at once" if self.size > 1 else "goes on one by one"
        self._alone |= {task.id for task in batch}
        self._faults_left -= 1
        if self._faults_left > 0:
            return "tries its snippets one by one"
        self.size = 1
        return "goes on one by one"
