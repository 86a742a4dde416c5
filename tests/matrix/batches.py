"""Many cells in one run: fewer processes, and each fault has neighbours that must not notice it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from matrix.faults import CELLS, Cell

HANGING = 3  # that many share a run: they wait one after the other, and runs side by side
NEIGHBOUR = "none"
BY_CLIP = ("transcribe", "idle")  # the audio says which fault; elsewhere the model does


@dataclass(frozen=True)
class Batch:
    """One `asrbench orchestrate`."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def by_clip(self) -> bool:
        """Whether one model meets many clips, else many models meet one clip."""
        return self.cells[0].phase in BY_CLIP

    @property
    def worlds(self) -> str:
        return ",".join(filter(None, ["short-waits", self.cells[0].world]))

    @property
    def models(self) -> list[str]:
        """In their order; a good one at the end shows that the run goes on."""
        if self.by_clip:
            return [f"saboteur-{self.cells[0].phase}"]
        return [*(model_of(cell) for cell in self.cells), "saboteur-transcribe"]

    @property
    def clips(self) -> list[str]:
        """The faults that the recordings ask for: between any two there is a good one."""
        if not self.by_clip:
            return [NEIGHBOUR]
        faults = itertools.chain.from_iterable((cell.fault, NEIGHBOUR) for cell in self.cells)
        return [NEIGHBOUR, *faults]

    @property
    def options(self) -> list[str]:
        cell = self.cells[0]
        crashes = "1" if cell.phase == "load" and cell.recorded == "load" else "1000"
        retries = "1" if cell.seen_in == "next" else "0"
        limit = ["--memory-limit", "250MB"] if cell.limited else []
        return [
            "--no-warm-up", "--timeout", "3", "--load-timeout", "5", "--max-crashes", crashes,
            "--retries", retries, *limit,
        ]  # fmt: skip

    def clip_of(self, cell: Cell) -> int:
        """Its place among the clips."""
        return 2 * self.cells.index(cell) + 1 if self.by_clip else 0


def model_of(cell: Cell) -> str:
    """The model whose row is the cell's."""
    return f"saboteur-{cell.phase}" if cell.phase in BY_CLIP else f"{cell.phase}-{cell.fault}"


def _kind(cell: Cell) -> tuple[str, ...]:
    waits = cell.hangs and cell.phase != "shutdown"
    later = cell.recorded if cell.phase == "load" else ""
    return (
        cell.phase, cell.world, "hang" * waits, "limit" * cell.limited,
        "next" * (cell.seen_in == "next"), later,
    )  # fmt: skip


def _batches() -> Iterator[Batch]:
    for kind, cells in itertools.groupby(sorted(CELLS, key=_kind), _kind):
        some, size = tuple(cells), HANGING if "hang" in kind else 30
        for start in range(0, len(some), size):
            name = "-".join([*filter(None, kind), str(start)])
            yield Batch(name, some[start : start + size])


BATCHES = list(_batches())
BATCH_OF = {cell.name: batch for batch in BATCHES for cell in batch.cells}
