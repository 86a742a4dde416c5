"""Which options a worker takes, read from its source: to import it takes its env."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import StackError

KEYS = {
    "load": "options",
    "transcribe": "transcribe_options",
    "transcribe_batch": "transcribe_options",  # transcribe() may hand over all that it is given
}
_GIVEN = 2  # by the host, ahead of the options


@dataclass(frozen=True)
class WorkerOption:
    """One that a stack's file may set for a model."""

    key: str  # where in the file: options or transcribe_options
    name: str
    default: str | None  # in Python's words, "…" if it does not stand there; None: it has none


def worker_options(worker: Path) -> tuple[WorkerOption, ...]:
    """In the source's order. Raises StackError for a file that this Python cannot read."""
    found: dict[tuple[str, str], WorkerOption] = {}
    try:
        for node in ast.parse(worker.read_bytes()).body:
            if isinstance(node, ast.FunctionDef) and node.name in KEYS:
                key = KEYS[node.name]
                for name, default in _after_the_given(node.args):
                    found.setdefault((key, name), WorkerOption(key, name, _told(default)))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise StackError(f"{worker} cannot be read here: {error}") from error
    return tuple(found.values())


def _after_the_given(args: ast.arguments) -> list[tuple[str, ast.expr | None]]:
    plain = [one.arg for one in (*args.posonlyargs, *args.args)]
    defaults = [None] * (len(plain) - len(args.defaults)) + args.defaults
    pairs = list(zip(plain, defaults, strict=True))
    more = zip((one.arg for one in args.kwonlyargs), args.kw_defaults, strict=True)
    return [*pairs[_GIVEN:], *more]


def _told(default: ast.expr | None) -> str | None:
    if default is None:
        return None
    try:
        ast.literal_eval(default)
    except (ValueError, TypeError):
        return "…"
    return ast.unparse(default)
