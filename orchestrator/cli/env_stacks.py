"""What the commands of asrbench env share: which stacks are meant, and how progress is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.stacks import Stack


def asked_for(verb: str, stack: str | None, every: bool, stacks: tuple[Path, ...]) -> list[Stack]:
    """The one that was named, or every one that ships or was given."""
    from orchestrator.errors import UsageError
    from orchestrator.stacks import find_stack, load_stacks

    if every == (stack is not None):
        raise UsageError(f"env {verb}: name one STACK, or all of them by --all")
    if stack is not None:
        return [find_stack(every_stack(stacks), stack)]
    return list(load_stacks(stacks).values())


def tell_error(stack: Stack, error: Exception) -> None:
    """One of several; the others have their turn."""
    from orchestrator.views.text import printable_lines

    click.echo(f"{stack.name}: {printable_lines(str(error))}", err=True)


def say(line: str) -> None:
    """uv's lines among them."""
    from orchestrator.views.text import printable

    click.echo(printable(line))


def every_stack(stacks: tuple[Path, ...]) -> dict[str, Stack]:
    """Also the self-test's, which holds no model but has an env like any other."""
    from orchestrator import paths
    from orchestrator.stacks import load_stacks

    return load_stacks((*stacks, paths.PROBE_STACK))
