"""Every fault × every phase: a typed row with its cause, unharmed neighbours, nothing left."""

from __future__ import annotations

import sys

import pytest

from matrix.batches import BATCH_OF, BATCHES, GOOD, Batch, model_of
from matrix.faults import CELLS, Cell
from matrix.titles import title

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="written for Linux")


@pytest.mark.parametrize(
    ("cell", "batch"), [pytest.param(cell, BATCH_OF[cell.name], id=cell.name) for cell in CELLS]
)
def test_a_fault_ends_as_it_must(ended, record_property, cell: Cell, batch: Batch):
    record_property("cell", (title(cell.fault, cell.world), cell.phase, _words(cell)))
    run, place = ended(batch), batch.clip_of(cell)
    assert run.code in (0, 1), run.out + run.err
    rows = [run.rows[model_of(cell), f"{number:03d}"] for number in range(len(batch.clips))]
    seen = _seen(run, cell, place, rows)
    said = seen["error"].removeprefix("not tried: ")
    assert (seen["outcome"], seen["phase"]) == (cell.outcome, cell.recorded), said
    assert cell.words in said
    if batch.by_clip:
        neighbours = [rows[number]["Outcome"] for number in (place - 1, place + 1)]
        assert neighbours == ["ok", "ok"]
    else:
        assert run.rows[GOOD, "000"]["Outcome"] == "ok"


@pytest.mark.parametrize("batch", [pytest.param(batch, id=batch.name) for batch in BATCHES])
def test_nothing_is_left_of_a_run(ended, batch: Batch):
    run = ended(batch)
    assert "Traceback" not in run.err
    assert run.left() == {}


def _seen(run, cell, place, rows):
    """Outcome, phase and error, wherever they are recorded."""
    row = rows[place]
    if cell.seen_in == "row":
        return {"outcome": row["Outcome"], "phase": row["Phase"], "error": row["Error"]}
    assert row["Outcome"] == "ok", row["Error"]
    if cell.seen_in == "next":
        return next(
            line for line in run.journal
            if line["kind"] == "attempt" and line["snippet"] == f"{place + 1:03d}"
        )  # fmt: skip
    ends = [
        line for line in run.journal
        if line["kind"] == "worker_ended" and line["model"] == model_of(cell)
        and line["after"] == f"{place:03d}"
    ]  # fmt: skip
    assert len(ends) == 1
    return ends[0]


def _words(cell):
    later = {"next": " (next one)", "end": "", "row": ""}[cell.seen_in]
    return cell.outcome.replace("_", " ") + later
