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
    errors = [row for row in rows if row.error]
    for row in errors[:MAX_ERRORS_SHOWN]:
        where = f"{row.model} · {printable(row.snippet.name)}"
        head = Text(f"{where}: {row.outcome or 'not run'}", style="bold red")
        console.print(head.append(f" {printable(row.error or '', 400)}", style="not bold default"))
    if len(errors) > MAX_ERRORS_SHOWN:
        console.print(f"… and {len(errors) - MAX_ERRORS_SHOWN} more; see the Error column")
    console.print(Text(f"signature {signature}", style="dim"), soft_wrap=True)


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
            "-" if one.rtfx is None else f"{one.rtfx:.2f}",
            "-" if one.load_s is None else f"{one.load_s:.2f}",
            "-" if one.peak_bytes is None else f"{one.peak_bytes / 1e6:.0f}",
            f"{one.ok}/{one.snippets}",
            Text(str(one.snippets - one.ok), style="red" if one.ok < one.snippets else ""),
        )
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
