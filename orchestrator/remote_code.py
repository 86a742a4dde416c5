"""A checkpoint's own code runs only where its stack says so, and says which code it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.errors import StackError

TRUST = "trust_remote_code"  # transformers' word, and that of those who follow it
COMMIT = re.compile(r"[0-9a-f]{40}")


def check_remote_code(
    where: str, declared: bool, revision: str | None, options: Mapping[str, Any]
) -> None:
    """Raises StackError naming the key below where that is wrong.

    declared: the model's remote_code. revision: of its checkpoint, None without one.
    options: all that its worker is given.
    """
    asking = next(_asking(options), None)
    if asking and not declared:
        raise StackError(
            f"{where}.{asking} runs code that comes with the checkpoint; read that code, then say "
            "so beside it: remote_code = true"
        )
    if declared and not asking:
        raise StackError(
            f"{where}.remote_code is true, but no option asks for it: take it away, or add "
            f"{TRUST} = true to options"
        )
    if declared and not COMMIT.fullmatch(revision or ""):
        raise StackError(
            f"{where}.revision has to be the full commit hash of a checkpoint, because its code is "
            "run (remote_code = true), and a branch or tag may bring other code tomorrow"
        )


def _asking(options: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    """The dotted keys that ask for remote code, at any depth; a place in a list is its number."""
    items = options.items() if isinstance(options, Mapping) else enumerate(options)
    for key, value in items:
        if key == TRUST and value:
            yield key
        elif isinstance(value, (Mapping, list, tuple)):
            yield from (f"{key}.{below}" for below in _asking(value))
