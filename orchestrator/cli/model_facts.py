"""What `asrbench models` tells of a model."""

from __future__ import annotations

import json
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.checkpoint_files import size_words
from orchestrator.checkpoint_record import recorded
from orchestrator.checkpoints import Checkpoint, find_checkpoint
from orchestrator.errors import StackError
from orchestrator.stacks import Model, Stack
from orchestrator.views.console import table_console
from orchestrator.views.text import printable
from orchestrator.worker_options import worker_options


def print_models(found: list[dict[str, Any]], checkpoints: list[Checkpoint]) -> None:
    """A line for each, and below what is wrong with checkpoints that cannot be used."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("Model", no_wrap=True)
    for heading in ("Stack", "Accelerators", "Languages", "Licence"):
        table.add_column(heading, overflow="fold")
    table.add_column("Checkpoint", overflow="fold", min_width=len("Checkpoint"))
    problems: dict[str, list[str]] = {}
    for one, checkpoint in zip(found, checkpoints, strict=True):
        cells = (
            one["model"],
            one["stack"],
            ", ".join(one["accelerators"]),
            ", ".join(one["languages"]) or "-",
            one["licence"] or "-",
            ("runs code of its own; " if one["remote_code"] else "")
            + ("ready" if one["ready"] else "missing"),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
        if checkpoint.problem:
            problems.setdefault(checkpoint.problem, []).append(one["model"])
    table_console().print(table)
    for problem, models in problems.items():
        click.echo(printable(f"{problem}: {', '.join(models)}"))
    if problems:
        click.echo(
            "get one: asrbench models download MODEL, or name a copy: --checkpoint MODEL=PATH"
        )


def of_model(stack: Stack, model: Model) -> dict[str, str]:
    """What its stack says of it."""
    return {
        "model": model.name,
        "stack": f"{stack.name} ({stack.folder})",
        "worker": str(stack.worker_file),
        "accelerators": ", ".join(stack.accelerators),
        "languages": ", ".join(model.languages) or "-",
        "licence": model.licence or "-",
        "options": _options(stack, "options", model.options),
        "transcribe_options": _options(stack, "transcribe_options", model.transcribe_options),
        "remote code": "yes: it runs code of its checkpoint" if model.remote_code else "no",
        "checkpoint": _asked(model),
    }


def _asked(model: Model) -> str:
    if model.checkpoint is None:
        return "none: its env brings all that it needs"
    return model.checkpoint + (f" without {', '.join(model.without)}" if model.without else "")


def _options(stack: Stack, key: str, given: dict[str, Any]) -> str:
    """What its stack's file sets under that key, and what it could, with defaults."""
    told = json.dumps(given, ensure_ascii=False, default=str)
    try:
        taken = worker_options(stack.worker_file)
    except StackError as error:  # perhaps in words that only its own Python knows
        return f"{told}; what else its worker takes is not known: {error}"
    may = [
        one.name if one.default is None else f"{one.name}={one.default}"
        for one in taken
        if one.key == key and one.name not in given
    ]
    return f"{told}; its worker also takes {', '.join(may)}" if may else told


def of_checkpoint(model: Model) -> dict[str, str]:
    """What is known of its checkpoint on this machine."""

    if model.checkpoint is None:
        return {}
    record = recorded(model)
    place = find_checkpoint(model)
    told = {"revision": model.revision or "none asked for"}
    if record:
        told["commit"] = record.commit
        told["hub's licence"] = record.licence or "not stated"
        told["size"] = f"{size_words(record.size_bytes)} in {len(record.files)} files"
    told["where"] = str(place.path or place.missing)
    if record and place.path:
        told["verified"] = f"{record.verified_at:%Y-%m-%d %H:%M} UTC"
    elif place.path:
        told["verified"] = f"no; check it: asrbench models download {model.name}"
    else:
        told["verified"] = "no"
    return told
