"""asrbench report."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestrator.cli import output
from orchestrator.cli.shared import json_option, results_option

EPILOG = """
\b
Examples:
  asrbench report latest
  asrbench report results/2026-01-31_12-00-00 --json
"""


@click.command("report", epilog=EPILOG)
@click.argument("run")
@results_option
@json_option
def command(run: str, results: Path, as_json: bool) -> None:
    """Score a run's journal again, write its CSV files and print its table.

    RUN is a name in the results folder or a path. No model runs. Exit code 0: the report was made,
    however the run ended; its own exit code is in the JSON document.
    """

    from orchestrator.reports.report import make_report, write_files
    from orchestrator.reports.table import print_report
    from orchestrator.run.folder import find_run
    from orchestrator.views.console import table_console

    report = make_report(find_run(run, results))
    output.kept_in(report.folder / "results.csv")
    if as_json:
        click.echo(json.dumps(report.as_json(), ensure_ascii=False))
        write_files(report)
        return
    if report.torn:
        click.echo("the journal's last line was torn by a sudden end; it is left out", err=True)
    print_report(table_console(), report.summaries, report.rows, report.signature)
    write_files(report)
    click.echo(f"results  {report.folder / 'results.csv'}")
