"""What --batch takes."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.run.options import MAX_BATCH


class BatchSizeType(click.ParamType[Any]):
    """A number of snippets, or auto."""

    name = "N|auto"
    _number = click.IntRange(min=1, max=MAX_BATCH)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click asks for it."""
        if value == "auto":
            return value
        try:
            return self._number.convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither auto nor a number from 1 to {MAX_BATCH}.", param, ctx)
