"""asrbench orchestrate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import click

from orchestrator import paths
from orchestrator.checkpoints import given_trouble
from orchestrator.cli import output
from orchestrator.cli.batch_size import BatchSizeType
from orchestrator.cli.memory_size import memory_size
from orchestrator.cli.shared import (
    checkpoint_path,
    json_option,
    package_options,
    results_option,
    run_options,
    stacks_option,
)
from orchestrator.errors import EXIT_INTERRUPTED, UsageError
from orchestrator.run.options import (
    DEFAULT_LOAD_TIMEOUT_S,
    DEFAULT_MAX_CRASHES,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_S,
    TIMEOUT_PER_AUDIO,
    RunOptions,
)
from orchestrator.views import View
from schemas.records import Accelerator

MOST_TRIES = 1000  # of one snippet: --repeat, --retries
PLAIN_OPTIONS = (
    *"snippets timeout_s load_timeout_s max_crashes retries repeats".split(),
    *"warm_up batch accelerator".split(),
)
EPILOG = """
\b
Examples:
  asrbench orchestrate                                  what is here, on the shipped recordings
  asrbench orchestrate --snippets ~/clips               on your folder of NAME.wav + NAME.txt
  asrbench orchestrate --models pocketsphinx --json     for a program
  asrbench orchestrate --resume latest                  go on after an interruption
\b
Exit codes: 0 every row is ok, 1 some rows failed, 2 wrong usage or input, 3 nothing could run,
130 interrupted (the run can be resumed).
"""


@click.command("orchestrate", epilog=EPILOG)
@click.option(
    "--models",
    metavar="A,B|all",
    help="Models by name; default: those whose checkpoint is on this machine.",
)
@click.option(
    "--snippets",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE.jsonl",
    help="A folder of recordings, each with NAME.txt beside it, or a JSONL manifest; "
    "default: the shipped recordings.",
)
@stacks_option
@results_option
@click.option("--resume", metavar="RUN", help="Do what is missing in a run (its name or folder).")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help=f"Limit of one attempt, or batch: S seconds + {TIMEOUT_PER_AUDIO:g} × its audio's length "
    f"(default {DEFAULT_TIMEOUT_S:g}).",
)
@click.option(
    "--load-timeout",
    "load_timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help=f"Limit from a worker's spawn until its model is loaded "
    f"(default {DEFAULT_LOAD_TIMEOUT_S:g}).",
)
@click.option(
    "--max-crashes",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Give a model up after so many crashes or time-outs in a row "
    f"(default {DEFAULT_MAX_CRASHES}).",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0, max=MOST_TRIES),
    metavar="N",
    help="Try a snippet that took its worker down again, alone, up to N times "
    f"(default {DEFAULT_RETRIES}).",
)
@click.option(
    "--repeat",
    "repeats",
    type=click.IntRange(min=1, max=MOST_TRIES),
    metavar="N",
    help="Measure each snippet N times; the table gives the median and the spread (default 1).",
)
@click.option(
    "--warm-up/--no-warm-up",
    "warm_up",
    default=None,
    help="Let each fresh worker transcribe the shortest snippet once, unmeasured (default: yes).",
)
@click.option(
    "--batch",
    type=BatchSizeType(),
    metavar="N|auto",
    help="Transcribe up to N snippets at once with models that can: throughput in place of "
    "latency. auto: many, and fewer where memory runs out (default 1).",
)
@click.option(
    "--accelerator",
    type=click.Choice(["auto", *get_args(Accelerator)]),
    help="Run on this one or not at all; default: the best that each stack has a build for and "
    "this machine can use, and the next one where that fails.",
)
@click.option(
    "--memory-limit",
    "memory_limit_bytes",
    metavar="SIZE",
    help="Most memory that a worker and its children may take, such as 12GB or 8GiB.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="MODEL=PATH",
    help="A model's checkpoint on disk, in place of the hub cache; may be repeated.",
)
@package_options
@json_option
@click.option("--quiet", is_flag=True, help="No progress; the table, and errors.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    resume: str | None,
    results: Path,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Run models over recordings and write results.csv.

    Each model runs in its own process and environment; a crash costs its own row and nothing else.
    Results go to RESULTS/<run>/: results.csv, summary.csv, journal.jsonl, run.json and logs/.
    """
    from orchestrator.run import folder as run_folder
    from orchestrator.run import orchestrate

    run = None if resume is None else run_folder.find_run(resume, results)
    options = _options(given, orchestrate.recorded_options(run) if run else None)
    prepared = orchestrate.prepare(options)
    for text in given["checkpoints"]:  # those of a resumed run may be gone: that is in its rows
        _require_there(*_checkpoint(text))
    view = _view(as_json, quiet)
    for line in prepared.others:
        view.note(f"not run: {line}")
    for snippet in prepared.snippets:
        if snippet.error:
            view.note(f"{snippet.name}: {snippet.error}")
    if run:
        finished = orchestrate.resume(run, prepared, view)
    else:
        finished = orchestrate.start(prepared, results, view)
    output.kept_in(finished.report.folder / "results.csv")
    _show(finished, as_json)
    if finished.write_error:
        raise finished.write_error
    ctx.exit(finished.exit_code)


def _options(given: dict[str, Any], recorded: RunOptions | None) -> RunOptions:
    """What was given now, over what the resumed run was asked for, over the defaults.

    Models, stacks and checkpoints are added to those of the resumed run.
    """
    chosen: dict[str, Any] = (
        recorded.model_dump() if recorded else {"snippets": paths.SHIPPED_SNIPPETS}
    )
    for name in PLAIN_OPTIONS:
        if given[name] is not None:
            chosen[name] = given[name]
    if given["memory_limit_bytes"] is not None:
        chosen["memory_limit_bytes"] = memory_size(given["memory_limit_bytes"])
    if given["models"] is not None:
        names = tuple(name.strip() for name in given["models"].split(",") if name.strip())
        if not names:
            raise UsageError("--models names no model; see: asrbench models list")
        every = "all" in names
        chosen["models"] = ("all",) if every else (*(chosen.get("models") or ()), *names)
    if given["stacks"]:
        # one that was moved meanwhile is given by its new name
        here = [folder for folder in chosen.get("stacks", ()) if folder.exists()]
        more = [folder.absolute() for folder in given["stacks"]]
        chosen["stacks"] = tuple(dict.fromkeys([*here, *more]))
    chosen["checkpoints"] = chosen.get("checkpoints", {}) | _checkpoints(given["checkpoints"])
    return run_options(chosen)


def _checkpoints(texts: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for model, path in map(_checkpoint, texts):
        if model in found:
            raise UsageError(f"--checkpoint is given twice for {model}: {found[model]} and {path}")
        found[model] = path
    return found


def _checkpoint(text: str) -> tuple[str, Path]:
    model, equals, path = text.partition("=")
    if not equals or not model or not path:
        raise UsageError(f"--checkpoint {text}: expected MODEL=PATH")
    return model, checkpoint_path(path)


def _require_there(model: str, path: Path) -> None:
    trouble = given_trouble(model, path)
    if trouble:
        raise UsageError(trouble)


def _view(as_json: bool, quiet: bool) -> View:
    from orchestrator.views.plain import PlainView, QuietView

    if quiet:
        return QuietView()
    if as_json:
        return PlainView(sys.stderr)
    if sys.stdout.isatty():
        from rich.console import Console

        from orchestrator.views.live import LiveView

        console = Console()
        if not console.is_dumb_terminal:
            return LiveView(console)
    return PlainView(sys.stdout)


def _show(finished: Any, as_json: bool) -> None:
    report = finished.report
    if as_json:
        document = report.as_json() | {"exit_code": finished.exit_code}
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    from orchestrator.platforms import quoted
    from orchestrator.reports.table import print_report
    from orchestrator.views.console import table_console

    print_report(table_console(), report.summaries, report.rows, report.signature)
    click.echo(f"results  {report.folder / 'results.csv'}")
    if finished.exit_code == EXIT_INTERRUPTED:
        words = ["asrbench", "orchestrate", "--resume", str(report.folder)]
        click.echo(f"go on    {quoted(words)}")
