"""Many cells in one run: fewer processes, and each fault has neighbours that must not notice it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from matrix.faults import CELLS, Cell

HANGING = 7  # that many share a run: they wait one after the other, and runs side by side
NEIGHBOUR = ("transcribe", "none")
BY_CLIP = ("transcribe", "idle")  # the audio says which fault; elsewhere the model does
GOOD = "saboteur"  # a model that does only what the audio says


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
        cell = self.cells[0]
        limits = "short-limits" if cell.hangs else ""
        return ",".join(filter(None, ["short-waits", limits, cell.world]))

    @property
    def models(self) -> list[str]:
        """In their order; a good one at the end shows that the run goes on."""
        return [GOOD] if self.by_clip else [*(model_of(cell) for cell in self.cells), GOOD]

    @property
    def clips(self) -> list[tuple[str, str]]:
        """Phase and fault that each recording asks for: between any two there is a good one."""
        if not self.by_clip:
            return [NEIGHBOUR]
        asked = [(cell.phase, cell.fault) for cell in self.cells]
        return [NEIGHBOUR, *itertools.chain.from_iterable((one, NEIGHBOUR) for one in asked)]

    @property
    def options(self) -> list[str]:
        cell = self.cells[0]
        crashes = "1000" if self.by_clip else "1"
        retries = "1" if cell.seen_in == "next" else "0"
        limits = ("3", "4") if cell.hangs else ("60", "60")
        memory = ["--memory-limit", "250MB"] if cell.limited else []
        return [
            "--no-warm-up", "--timeout", limits[0], "--load-timeout", limits[1],
            "--max-crashes", crashes, "--retries", retries, *memory,
        ]  # fmt: skip

    def clip_of(self, cell: Cell) -> int:
        """Its place among the clips."""
        return 2 * self.cells.index(cell) + 1 if self.by_clip else 0


def model_of(cell: Cell) -> str:
    """The model whose row is the cell's."""
    return GOOD if cell.phase in BY_CLIP else f"{cell.phase}-{cell.fault}"


def _kind(cell: Cell) -> tuple[str, ...]:
    return (
        "by-clip" if cell.phase in BY_CLIP else "by-model",
        cell.world,
        "hang" * cell.hangs,
        "limit" * cell.limited,
        "next" * (cell.seen_in == "next"),
    )


def _batches() -> Iterator[Batch]:
    for kind, cells in itertools.groupby(sorted(CELLS, key=_kind), _kind):
        some, most = tuple(cells), HANGING if "hang" in kind else 40
        number = -(-len(some) // most)  # all of a kind have as many, or one less
        for part in range(number):
            name = "-".join([*filter(None, kind), str(part)])
            yield Batch(name, some[part::number])


BATCHES = list(_batches())
BATCH_OF = {cell.name: batch for batch in BATCHES for cell in batch.cells}
