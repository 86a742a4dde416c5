"""Journals written by hand, and what is made of them."""

from __future__ import annotations

import csv

from orchestrator.reports.report import make_report, write_files
from orchestrator.reports.rows import rows_of
from orchestrator.reports.state import fold
from orchestrator.reports.summary import summarise
from schemas.records import (
    JOURNAL_LINE,
    Attempt,
    ModelFailed,
    ModelStarted,
    Plan,
    PlannedModel,
    PlannedSnippet,
)

AT = "2026-01-31T12:00:00+00:00"


def planned(name, reference="red green blue pink", **other):
    standard = {"clean_reference": None, "language": "en", "duration_s": 4.0, "error": None}
    known = standard | {"sha256": f"sha of {name}"} | other
    return PlannedSnippet(name=name, reference=reference, **known)


def plan(*snippets, models=("m",)):
    asked = tuple(PlannedModel(name=name, stack="s", languages=()) for name in models)
    return Plan(at=AT, models=asked, snippets=snippets, snippet_set_sha256="5e7" * 10)


def started(model="m", key="k"):
    return ModelStarted(
        at=AT, model=model, key=key, accelerator="cpu", env="e", lock_sha256="l"
    )  # fmt: skip


def attempt(snippet, text="red green blue pink", model="m", **other):
    known = {"key": "k", "outcome": "ok", "snippet_sha256": f"sha of {snippet}"} | other
    return Attempt(at=AT, model=model, snippet=snippet, text=text, **known)


def failed(snippet, **other):
    known = {"text": None, "outcome": "crashed", "error": "signal 11"} | other
    return attempt(snippet, **known)


def gave_up(model="m", **other):
    known = {"outcome": "failed", "phase": "load", "error": "no weights"} | other
    return ModelFailed(at=AT, model=model, **known)


def rows(*lines):
    return rows_of(fold(lines))


def summaries(*lines):
    state = fold(lines)
    return summarise(rows_of(state), state)


def report_of(folder, *lines):
    folder.mkdir(exist_ok=True)
    (folder / "journal.jsonl").write_bytes(
        b"".join(JOURNAL_LINE.dump_json(x) + b"\n" for x in lines)
    )
    report = make_report(folder)
    write_files(report)
    return report


def read_csv(file):
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
