"""The command line. Commands are imported when they are used, so that --help is quick."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

import orchestrator
from orchestrator.cli import output
from orchestrator.interruptions import terminate_like_ctrl_c

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

# name → (module below, one line of help)
COMMANDS = {
    "orchestrate": "Run models over recordings: accuracy, speed and memory of each.",
    "report": "Make a run's tables and CSV files again from its journal.",
    "replay": "Try one model on one snippet of a run again, alone, to see how it ends.",
    "models": "See which models there are, and whether one works here; get and delete checkpoints.",
    "env": "Build, check, lock and remove the models' environments.",
    "doctor": "See which accelerators this machine has, and what is missing.",
    "selftest": "Measure this machine's own counters before you believe them.",
    "snippets": "Check a folder of recordings before a long run.",
}


class _LazyGroup(click.Group):
    """Knows its commands' names and help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name not in COMMANDS and not name.startswith("-"):
            from orchestrator.errors import unknown_name

            ctx.fail(str(unknown_name("command", name, COMMANDS)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=_LazyGroup,
    context_settings=CONTEXT,
    epilog="First steps: `asrbench orchestrate` runs what needs no download on the shipped "
    "recordings; `asrbench orchestrate --snippets DIR` on yours.",
)
@click.version_option(orchestrator.__version__, prog_name="asrbench")
def cli() -> None:
    """Find the best local speech-to-text model for this machine.

    Each model runs in a process and an environment of its own, and is measured from outside.
    """


def main() -> None:
    """Entry point: errors meant for people are one message and an exit code, never a traceback."""
    output.open_streams()
    with terminate_like_ctrl_c():
        code = _exit_code()
    lost = output.lost()
    if lost:
        from orchestrator.errors import EXIT_SOME_FAILED

        click.echo(f"error: {lost}", err=True)
        code = code or EXIT_SOME_FAILED
    sys.exit(code)


def _exit_code() -> int:
    try:
        return cli.main(standalone_mode=False) or 0  # what ctx.exit() was given
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except Exception as error:
        from orchestrator.errors import AsrbenchError

        if not isinstance(error, AsrbenchError):
            raise
        from orchestrator.views.text import printable_lines

        click.echo(f"error: {printable_lines(str(error))}", err=True)
        return error.exit_code
