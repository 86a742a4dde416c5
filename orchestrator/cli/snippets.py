"""asrbench snippets."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.errors import EXIT_SOME_FAILED


@click.group("snippets")
def command() -> None:
    """Check recordings before a long run."""


@command.command("check", epilog="\b\nExample:\n  asrbench snippets check ~/clips")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR|FILE.jsonl")
@click.pass_context
def check(ctx: click.Context, folder: Path) -> None:
    """Decode every recording of DIR and tell every problem at once.

    Exit code 0 when all can be used, 1 when some cannot, 2 when none can.
    """
    from orchestrator.snippets.check import check_snippets
    from orchestrator.views.text import minutes, printable

    checked = check_snippets(folder)
    for problem in checked.problems:
        click.echo(f"problem  {printable(problem, 500)}")
    for warning in checked.warnings:
        click.echo(f"warning  {printable(warning, 500)}")
    click.echo(
        f"{checked.usable} of {checked.found} recordings can be used, {minutes(checked.audio_s)} "
        f"of audio, {checked.words} reference words"
    )
    if not checked.usable:
        ctx.exit(2)
    ctx.exit(EXIT_SOME_FAILED if checked.problems else 0)
