"""asrbench selftest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli import output
from orchestrator.cli.shared import json_option
from orchestrator.errors import EXIT_OK, EXIT_SOME_FAILED
from orchestrator.selftest.run import DEFAULT_SIZE_MIB, MIN_SIZE_MIB

if TYPE_CHECKING:
    from orchestrator.selftest.record import SelfTest

EPILOG = """
\b
Verdicts:
  seen      what a run would report is within 2 % of the truth
  not seen  it is not, the counters of this machine cannot tell, and what is reported says so
  wrong     it is not, though a counter of this machine should have seen it
  not run   this system cannot do what the probe needs
\b
Examples:
  asrbench selftest
  asrbench selftest --size 1000     larger footprints, where models are large
  asrbench selftest --json          for a program
\b
Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage or too little memory, 3 the probe's
environment cannot be built.
"""


@click.command("selftest", epilog=EPILOG)
@click.option(
    "--size",
    "size_mib",
    type=click.IntRange(min=MIN_SIZE_MIB),
    metavar="MIB",
    help=f"Size of each footprint (default {DEFAULT_SIZE_MIB}, less if little memory is free). "
    "Four times as much must be free.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, size_mib: int | None, as_json: bool) -> None:
    """Measure this machine's own counters, through the real path, before you believe them.

    Runs a worker of known footprint: memory, files mapped and read with cold and warm cache, two
    children at once, a 20 ms spike, forks that share. Prints what each counter said and how far it
    was from the truth, which is what the same work took with nothing in it + the footprint. Then
    lets workers crash, run out of memory, hang and print, and checks what is said of each.

    Takes about a minute. The verdict is kept, and goes into run.json of the runs on this machine.
    """
    from orchestrator.selftest.record import keep, record_file
    from orchestrator.selftest.run import run_selftest

    found = run_selftest(size_mib, lambda text: click.echo(text, err=True))
    keep(found)
    output.kept_in(record_file())
    if as_json:
        click.echo(found.model_dump_json())
    else:
        _print(found)
    ctx.exit(EXIT_SOME_FAILED if found.wrong else EXIT_OK)


def _print(found: SelfTest) -> None:
    from orchestrator.selftest.record import record_file
    from orchestrator.selftest.tables import death_table, footprint_table, remarks
    from orchestrator.views.console import table_console
    from orchestrator.views.text import printable

    console = table_console()
    console.print(footprint_table(found))
    console.print(death_table(found))
    for remark in remarks(found):
        click.echo(printable(remark))
    click.echo(f"wrong: {', '.join(found.wrong)}" if found.wrong else "ok: nothing is wrong")
    click.echo(f"kept   {record_file()}")
