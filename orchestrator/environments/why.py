"""Why stacks have an env each: what the resolver says to two of them in one."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.accelerators import Way
from orchestrator.environments.causes import UNREACHABLE
from orchestrator.environments.lock import allowed_minors, pins, read_lock
from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError, StackError
from orchestrator.stacks import Stack

MAX_DIFFERENT = 8


@dataclass(frozen=True)
class Reason:
    """Two stacks: what keeps them apart. conflict: None if one env could hold both.

    different: packages that both have locked, at versions of which an env holds but one.
    """

    other: str
    conflict: str | None
    different: tuple[str, ...] = ()


def why_apart(stack: Stack, others: Iterable[Stack]) -> Iterator[Reason]:
    """Ask the resolver for each other stack. Raises EnvError where it cannot be asked."""
    for other in others:
        conflict = _pythons(stack, other) or _conflict(stack, other)
        yield Reason(other.name, conflict, _different(stack, other))


def _pythons(one: Stack, other: Stack) -> str | None:
    if set(allowed_minors(one)) & set(allowed_minors(other)):
        return None
    return (
        f"no Python fits both: {one.name} needs {one.requires_python}, "
        f"{other.name} {other.requires_python}"
    )


def _conflict(one: Stack, other: Stack) -> str | None:
    common = sorted(set(allowed_minors(one)) & set(allowed_minors(other)))
    log = paths.envs_home() / "logs" / f"{one.name}-why.log"
    with tempfile.TemporaryDirectory(prefix="asrbench-why-") as name:
        folder = Path(name)
        names = [_as_package(stack, folder) for stack in (one, other)]
        arguments = ["pip", "compile", "both.in", "--universal", "--no-header", "--quiet"]
        arguments += ["--python-version", f"3.{common[0]}"]
        (folder / "both.in").write_text("\n".join(names) + "\n", encoding="utf-8")
        try:
            run_uv(arguments, folder, log, f"{one.name} and {other.name} cannot share an env")
        except EnvError as error:
            if UNREACHABLE in error.log_tail or "incompatible" not in error.log_tail:
                raise
            return _as_sentences(error.log_tail)
    return None


def _as_package(stack: Stack, folder: Path) -> str:
    """A package that needs what the stack needs, so that the resolver speaks of it by name."""
    name = f"stack-{stack.name}"  # not the name of a package that it needs
    place = folder / name
    place.mkdir()
    needed = [*stack.dependencies, *stack.groups.get(stack.accelerators[-1], ())]
    lines = [
        "[project]",
        f"name = {json.dumps(name)}",
        'version = "0"',
        f"requires-python = {json.dumps(stack.requires_python)}",
        f"dependencies = {json.dumps(needed)}",
    ]
    (place / "pyproject.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"./{name}"


def _as_sentences(said: str) -> str:
    """The resolver's proof, without what it says of the two packages that were made for it."""
    proof = said.partition("cause: Because ")[2] or said
    own = r"(?:all versions of )?stack-([a-z0-9._-]+?)(?:==0)?(?=[ ,.]|$)"
    proof = re.sub(rf"only {own} is available and |and only {own} is available", "", proof)
    proof = re.sub(own, r"the stack \1", proof)
    proof = proof.partition("And because you require")[0]  # both: it was asked for them
    return " ".join(proof.split()).replace(" ,", ",")


def _different(one: Stack, other: Stack) -> tuple[str, ...]:
    try:
        locks = [read_lock(stack, Way(stack.accelerators[-1])) for stack in (one, other)]
    except StackError:
        return ()
    first, second = (pins(lock.text) if lock else {} for lock in locks)
    found = [
        f"{name} {'/'.join(sorted(first[name]))} and {'/'.join(sorted(second[name]))}"
        for name in sorted(set(first) & set(second))
        if not first[name] & second[name]
    ]
    more = [f"and {len(found) - MAX_DIFFERENT} more"] if len(found) > MAX_DIFFERENT else []
    return (*found[:MAX_DIFFERENT], *more)
