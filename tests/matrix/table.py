"""The matrix as people read it: fault × phase → outcome, as it was seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matrix.faults import PHASES

Outcomes = dict[str, dict[str, str]]  # fault → phase → outcome


def outcomes_of(stats: Mapping[str, Iterable[Any]]) -> Outcomes:
    """From the reports of a pytest session."""
    found: Outcomes = {}
    for report in [*stats.get("passed", []), *stats.get("failed", [])]:
        for name, value in getattr(report, "user_properties", []):
            if name == "cell" and report.when == "call":
                fault, phase, outcome = value
                found.setdefault(fault, {})[phase] = outcome if report.passed else "FAILED"
    return found


def table(found: Outcomes) -> list[str]:
    """In Markdown, with aligned columns."""
    rows = [["fault", *PHASES], *([fault, *_row(phases)] for fault, phases in found.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return lines


def _row(phases: Mapping[str, str]) -> list[str]:
    return [phases.get(phase, "") for phase in PHASES]
