"""asrbench models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.shared import json_option, stacks_option


@click.group("models")
def command() -> None:
    """See which models there are and what they need."""


@command.command("list", epilog="\b\nExample:\n  asrbench models list --stacks ~/my-stacks")
@stacks_option
@json_option
def list_(stacks: tuple[Path, ...], as_json: bool) -> None:
    """Each model with its stack, licence, and whether its checkpoint is on this machine."""
    from orchestrator.checkpoints import find_checkpoint
    from orchestrator.stacks import load_stacks

    found: list[dict[str, Any]] = []
    for stack in load_stacks(stacks).values():
        for model in stack.models:
            checkpoint = find_checkpoint(model)
            found.append(
                {
                    "model": model.name,
                    "stack": stack.name,
                    "accelerators": list(stack.accelerators),
                    "languages": list(model.languages),
                    "licence": model.licence,
                    "checkpoint": model.checkpoint,
                    "revision": model.revision,
                    "remote_code": model.remote_code,
                    "ready": checkpoint.missing is None,
                    "missing": checkpoint.missing,
                }
            )
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    _print(found)


def _print(found: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from orchestrator.views.console import table_console
    from orchestrator.views.text import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Model", "Stack", "Accelerators", "Languages", "Licence", "Checkpoint"):
        table.add_column(heading)
    for one in found:
        cells = (
            one["model"],
            one["stack"],
            ", ".join(one["accelerators"]),
            ", ".join(one["languages"]) or "-",
            one["licence"] or "-",
            ("ready" if one["ready"] else one["missing"])
            + (", runs code of its own" if one["remote_code"] else ""),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    table_console().print(table)
