"""The final table on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.reports.rows import Row
from orchestrator.reports.summary import ModelSummary
from orchestrator.views.text import printable

MAX_ERRORS_SHOWN = 10


def print_report(
    console: Console, summaries: Sequence[ModelSummary], rows: Sequence[Row], signature: str
) -> None:
    """Models by WER, then the errors, then the signature."""
    console.print(_summary_table(summaries))
    for remark in _remarks(summaries):
        console.print(Text(remark, style="dim"))
    errors = _grouped_errors(rows)
    for line in errors[:MAX_ERRORS_SHOWN]:
        console.print(line)
    if len(errors) > MAX_ERRORS_SHOWN:
        console.print(f"… and {len(errors) - MAX_ERRORS_SHOWN} more; see the Error column")
    console.print(Text(f"signature {printable(signature)}", style="dim"), soft_wrap=True)


def _remarks(summaries: Sequence[ModelSummary]) -> list[str]:
    remarks = []
    methods = ", ".join(sorted({one.peak_method for one in summaries if one.peak_method}))
    if methods:
        remarks.append(f"RAM is the peak of the process tree, by {methods}")
    if any(one.peak_bound != "exact" for one in summaries if one.peak_bound):
        remarks.append("≥: it may be more; ≤: it may be less, page cache is in it; ~: either")
    for one in summaries:
        if one.crashes:
            remarks.append(
                f"{one.model}: {one.crashes} deaths or hangs of its workers; see Blame and crashes/"
            )
        if one.batch > 1:
            changed = (
                f"of {one.batch_checked} that were transcribed alone as well, "
                f"{one.batch_changed} had another text; see Notes"
            )
            remarks.append(
                f"{one.model}: {one.batch_rows} of {one.ok} rows in batches of up to {one.batch}; "
                + (changed if one.batch_checked else "none was transcribed alone to compare")
            )
        if one.disturbed:
            remarks.append(
                f"{one.model}: {one.disturbed} of {one.snippets} rows were measured while "
                "something else went on; see Disturbed"
            )
    return remarks


def _grouped_errors(rows: Sequence[Row]) -> list[Text]:
    """One line for each different error of a model; all snippets of a failed model share one."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.error:
            groups.setdefault((row.model, row.outcome, row.error), []).append(row)
    lines = []
    for (model, outcome, error), members in groups.items():
        where = printable(members[0].snippet.name)
        if len(members) > 1:
            where = f"{len(members)} snippets"
        blame = f" ({members[0].blame})" if members[0].blame else ""
        head = Text(f"{model} · {where}: {outcome or 'not run'}{blame}", style="bold red")
        lines.append(head.append(f" {printable(error, 400)}", style="not bold default"))
    return lines


def _summary_table(summaries: Sequence[ModelSummary]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("Model", no_wrap=True)
    headings = ("WER %", "95 % CI", "CER %", "RTFx", "Load s", "RAM MB", "Ok", "Errors")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for one in summaries:
        interval = one.wer_interval
        table.add_row(
            one.model,
            _percent(one.wer),
            f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}" if interval else "-",
            _percent(one.cer),
            _speed(one),
            "-" if one.load_s is None else f"{one.load_s:.2f}",
            _peak(one),
            f"{one.ok}/{one.snippets}",
            Text(str(one.failed), style="red" if one.failed else ""),
        )
    return table


def _speed(one: ModelSummary) -> str:
    if one.rtfx is None:
        return "-"
    if one.rtfx_range is None:
        return f"{one.rtfx:.2f}"
    return f"{one.rtfx:.2f} ({one.rtfx_range[0]:.2f}-{one.rtfx_range[1]:.2f})"


def _peak(one: ModelSummary) -> str:
    if one.peak_bytes is None:
        return "-"
    sign = {"lower": "≥", "upper": "≤", "unknown": "~"}.get(one.peak_bound or "", "")
    return f"{sign}{one.peak_bytes / 1e6:.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
