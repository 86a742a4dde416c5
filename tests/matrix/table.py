"""The matrix as people read it: fault × phase → outcome, as it was seen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matrix.faults import PHASES
from matrix.titles import rank

Outcomes = dict[str, dict[str, str]]  # a row's title → phase → outcome
BAD = "NOT AS IT MUST"


def outcomes_of(reports: Iterable[Any]) -> Outcomes:
    """From a pytest session: what each test saw, as its property "cell"."""
    found: Outcomes = {}
    for report in reports:
        for name, cell in report.user_properties if report.when == "call" else ():
            if name == "cell":
                row, phase, outcome = cell
                phases = found.setdefault(row, {})
                if not report.passed or phases.get(phase) == BAD:
                    outcome = BAD
                phases[phase] = outcome
    return found


def table(found: Outcomes) -> list[str]:
    """In Markdown, with aligned columns."""
    rows = [[row, *(found[row].get(phase, "") for phase in PHASES)] for row in found]
    rows.sort(key=lambda cells: rank(cells[0]))
    rows.insert(0, ["fault", *PHASES])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return lines
