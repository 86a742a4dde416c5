"""asrbench replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import output
from orchestrator.cli.shared import accelerator_option, json_option, results_option
from orchestrator.errors import EXIT_OK, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from orchestrator.environments.choice import Asked

EPILOG = """
\b
Examples:
  asrbench replay latest granite-speech-3.3-2b clips/long-one
  asrbench replay results/2026-01-31_12-00-00 phi-4-multimodal
"""


@click.command("replay", epilog=EPILOG)
@click.argument("run")
@click.argument("model")
@click.argument("snippet", required=False)
@accelerator_option
@results_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    run: str,
    model: str,
    snippet: str | None,
    accelerator: Asked | None,
    results: Path,
    as_json: bool,
) -> None:
    """Try MODEL on SNIPPET of an earlier run once more, alone, in a fresh worker.

    Shows how it ends: outcome, cause, Python's stack, the worker's last lines. Without SNIPPET the
    shortest one is taken, for a model that dies while it loads. The run itself is not changed.
    Exit code 0 when all went well this time, 1 when not.
    """
    from orchestrator.reports.crash_files import crash_text
    from orchestrator.run.folder import find_run
    from orchestrator.run.replay import replay
    from orchestrator.views.plain import PlainView, QuietView
    from orchestrator.views.text import printable_lines

    view = QuietView() if as_json else PlainView()
    replayed = replay(find_run(run, results), model, snippet, view, accelerator)
    output.kept_in(replayed.folder)
    if as_json:
        ends = [end.model_dump(mode="json") for end in replayed.ends]
        click.echo(json.dumps({"ok": replayed.ok, "ends": ends}, ensure_ascii=False))
    else:
        for end in replayed.ends:
            if end.crash:
                click.echo(printable_lines(crash_text(end, end.crash)))
        log = replayed.folder / "logs" / f"{model}.log"
        if log.exists():  # there is none of a worker that was never started
            click.echo(f"log  {log}")
    ctx.exit(EXIT_OK if replayed.ok else EXIT_SOME_FAILED)
