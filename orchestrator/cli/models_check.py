"""asrbench models check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.shared import (
    accelerator_option,
    checkpoint_path,
    json_option,
    package_options,
    run_options,
    stacks_option,
)
from orchestrator.errors import EXIT_NOTHING_RAN, EXIT_OK, UsageError

if TYPE_CHECKING:
    from orchestrator.environments.choice import Asked
    from orchestrator.run.check_steps import Checked, Step

EPILOG = """
\b
Examples:
  asrbench models check pocketsphinx
  asrbench models check distil-large-v3 --accelerator cpu
  asrbench models check distil-large-v3 --checkpoint ~/models/distil --json
\b
Exit codes: 0 it works, 2 wrong usage, 3 it does not, 130 interrupted.
"""


@click.command("check", epilog=EPILOG)
@click.argument("model")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="PATH",
    help="Its checkpoint on disk, in place of the hub cache; MODEL=PATH is the same.",
)
@accelerator_option
@click.option(
    "--load-timeout",
    "load_timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Limit of the load, as of a run.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Limit of the speech, as of a run: S seconds + 10 × its length.",
)
@package_options
@stacks_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    model: str,
    checkpoints: tuple[str, ...],
    accelerator: Asked | None,
    load_timeout_s: float | None,
    timeout_s: float | None,
    stacks: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Try whether MODEL works on this machine: its env, its checkpoint, 3 seconds of speech.

    Its env is built if it has to be. The best accelerator that this machine can use is tried, and
    no other, so that its failure is seen. Each step is told as it ends; one that fails says what to
    do next. The text is not judged.
    """
    from orchestrator.run.check_model import SNIPPETS, check_model

    given = {
        "accelerator": accelerator,
        "load_timeout_s": load_timeout_s,
        "timeout_s": timeout_s,
    }
    options = run_options(
        {
            "models": (model,),
            "snippets": SNIPPETS,
            "stacks": tuple(folder.absolute() for folder in stacks),
            "checkpoints": _checkpoints(model, checkpoints),
        }
        | {name: value for name, value in given.items() if value is not None}
    )
    checked = check_model(
        options,
        say=lambda text: _say(text, err=as_json),
        tell=(lambda _: None) if as_json else _tell,
    )
    if as_json:
        click.echo(json.dumps(checked.as_json(), ensure_ascii=False))
    else:
        _conclude(checked)
    ctx.exit(EXIT_OK if checked.ok else EXIT_NOTHING_RAN)


def _checkpoints(model: str, texts: tuple[str, ...]) -> dict[str, Path]:
    if not texts:
        return {}
    if len(texts) > 1:
        raise UsageError("--checkpoint is given twice: one model has one")
    path = texts[0].removeprefix(f"{model}=")
    if not path:
        raise UsageError("--checkpoint names no path")
    return {model: checkpoint_path(path)}


def _tell(step: Step) -> None:
    """The step's line, and below it what else is to be known."""
    from orchestrator.cli.check_lines import line, more

    if step.trouble:
        _line(step.name, f"failed: {step.trouble.what}")
        _line("", f"next: {step.trouble.next}")
    elif step.found:
        _line(step.name, line(step.found))
        for text in more(step.found):
            _line("", text)
    else:
        _line(step.name, "not tried")
    for remark in step.remarks:
        _line("", f"note: {remark}")


def _conclude(checked: Checked) -> None:
    if not checked.ok and checked.log:
        _line("log", str(checked.log))
    _say(f"{checked.model} {'works here' if checked.ok else 'does not work here'}", err=False)


def _line(label: str, text: str) -> None:
    from orchestrator.views.text import printable

    click.echo(f"{label:11} {'  ' if not label else ''}{printable(text)}")


def _say(text: str, err: bool) -> None:
    from orchestrator.views.text import printable

    click.echo(printable(text), err=err)
