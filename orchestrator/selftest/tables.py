"""A self-test as tables for a person."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.selftest.record import FootprintFound, SelfTest
from orchestrator.views.text import printable


def footprint_table(found: SelfTest) -> Table:
    """A line for each footprint; of each counter, its error."""
    counters = list(dict.fromkeys(one.counter for f in found.footprints for one in f.counters))
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"footprints of {found.size_bytes / 1e6:.0f} MB, and each counter's error",
        title_justify="left",
    )
    table.add_column("Probe", no_wrap=True)
    table.add_column("Truth MB", justify="right")
    table.add_column("Reported MB", justify="right")
    table.add_column("Method", no_wrap=True)
    for heading in ("Error", *counters):
        table.add_column(heading, justify="right")
    table.add_column("Verdict", no_wrap=True)
    for one in found.footprints:
        table.add_row(*map(Text, _cells(one, counters)))
    return table


def death_table(found: SelfTest) -> Table:
    """A line for each death."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="deaths", title_justify="left")
    table.add_column("Probe", no_wrap=True)
    table.add_column("Called", no_wrap=True)
    table.add_column("Said", overflow="fold")
    table.add_column("Verdict", no_wrap=True)
    for one in found.deaths:
        cells = (one.name, one.outcome, printable(one.said, 200), "right" if one.right else "wrong")
        table.add_row(*map(Text, cells))
    return table


def remarks(found: SelfTest) -> list[str]:
    """Why, of every probe that is not simply seen or right."""
    return [f"{one.name}: {one.verdict}: {one.why}" for one in found.footprints if one.why] + [
        f"{one.name}: wrong: {one.why}" for one in found.deaths if one.why
    ]


def _cells(one: FootprintFound, counters: list[str]) -> list[str]:
    errors = {reading.counter: reading.error for reading in one.counters}
    shown = [_percent(errors.get(counter)) for counter in counters]
    if one.reported is None or one.truth_bytes is None:
        return [one.name, "", "", "", "", *shown, one.verdict]
    reported = one.reported
    return [
        one.name,
        f"{one.truth_bytes / 1e6:.1f}",
        f"{reported.peak_bytes / 1e6:.1f}",
        reported.method,
        _percent(reported.error),
        *shown,
        one.verdict,
    ]


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error * 100:+.1f} %"
