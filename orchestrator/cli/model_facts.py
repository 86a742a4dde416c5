"""What `asrbench models` tells of a model."""

from __future__ import annotations

import json
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.checkpoint_files import size_words
from orchestrator.checkpoint_record import recorded
from orchestrator.checkpoints import find_checkpoint
from orchestrator.stacks import Model, Stack
from orchestrator.views.console import table_console
from orchestrator.views.text import printable


def print_models(found: list[dict[str, Any]]) -> None:
    """A line for each."""

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
            ("runs code of its own; " if one["remote_code"] else "")
            + ("ready" if one["ready"] else one["missing"]),
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    table_console().print(table)


def of_model(stack: Stack, model: Model) -> dict[str, str]:
    """What its stack says of it."""
    return {
        "model": model.name,
        "stack": f"{stack.name} ({stack.folder})",
        "worker": str(stack.worker_file),
        "accelerators": ", ".join(stack.accelerators),
        "languages": ", ".join(model.languages) or "-",
        "licence": model.licence or "-",
        "options": json.dumps(model.options, ensure_ascii=False, default=str),
        "transcribing": json.dumps(model.transcribe_options, ensure_ascii=False, default=str),
        "remote code": "yes: it runs code of its checkpoint" if model.remote_code else "no",
        "checkpoint": model.checkpoint or "none: its env brings all that it needs",
    }


def of_checkpoint(model: Model) -> dict[str, str]:
    """What is known of its checkpoint on this machine."""

    if model.checkpoint is None:
        return {}
    record = recorded(model.checkpoint, model.revision)
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
