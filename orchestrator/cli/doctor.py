"""asrbench doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.shared import json_option, stacks_option
from orchestrator.errors import EXIT_NOTHING_RAN, EXIT_OK

if TYPE_CHECKING:
    from orchestrator.doctor import Diagnosis

EPILOG = """
\b
Examples:
  asrbench doctor
  asrbench doctor --json     for a program, or for a report of a problem
\b
Exit codes: 0 at least one stack can run here, 2 wrong usage, 3 none can.
"""


@click.command("doctor", epilog=EPILOG)
@stacks_option
@json_option
@click.pass_context
def command(ctx: click.Context, stacks: tuple[Path, ...], as_json: bool) -> None:
    """See which accelerators this machine has, what each stack would use, and what is missing.

    GPUs are found from outside, in milliseconds: no driver is loaded and no env is built.
    """
    from orchestrator.doctor import diagnose
    from orchestrator.stacks import load_stacks

    found = diagnose(load_stacks(stacks).values())
    if as_json:
        click.echo(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        _print(found)
    ctx.exit(EXIT_OK if any(one.accelerator for one in found.stacks) else EXIT_NOTHING_RAN)


def _print(found: Diagnosis) -> None:
    machine = found.machine
    _tell("machine", f"{machine['cpu']}, {machine['logical_cores']} logical cores")
    _tell("system", f"{machine['os']}, {machine['ram_bytes'] / 1e9:.1f} GB of RAM")
    _tell("memory", f"a worker's is counted by {found.memory_counter}")
    if not found.gpus:
        _tell("gpu", "none")
    for gpu in found.gpus:
        parts = [gpu.name, gpu.target, gpu.driver and f"driver {gpu.driver}"]
        if gpu.memory_bytes:
            parts.append(f"{gpu.memory_bytes / 1e9:.1f} GB of its own")
        _tell("gpu", ", ".join(filter(None, parts)))
        for accelerator, obstacle in gpu.uses.items():
            _tell("", f"{accelerator}: {obstacle.what if obstacle else 'ready'}")
    for stack in found.stacks:
        _tell("stack", f"{stack.stack}: {stack.accelerator or 'cannot run here'}")
        for accelerator, why in stack.better.items():
            _tell("", f"not {accelerator}: {why}")
    for missing in found.missing:
        _tell("missing", missing.what)
        if missing.fix:
            _tell("", f"to mend it: {missing.fix}")


def _tell(label: str, text: str) -> None:
    from orchestrator.views.text import printable

    click.echo(f"{label:8} {'  ' if not label else ''}{printable(text)}")
