"""What of a resolution holds for every accelerator, by uv's annotations of who needs what."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from orchestrator.environments.torch_builds import family, is_left_out

_COMMENT = re.compile(r"^ +#[^\n]*\n", re.MULTILINE)
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*) *(?:==|@)", re.MULTILINE)


def without_torch(resolved: str) -> tuple[str, list[str]]:
    """The lines that hold for every accelerator, and the members of the family that were there.

    What only one accelerator's torch needs is left out, unless something else needs it, too.
    """
    blocks = re.split(r"^(?=\S)", resolved, flags=re.MULTILINE)
    named = [(_name_of(block), block) for block in blocks if block]
    parents: dict[str, set[str]] = {}
    for name, block in named:
        parents.setdefault(name, set()).update(_parents_of(block))
    torch = sorted(family() & set(parents))
    out = set(torch)
    while more := {
        name for name in parents if name not in out and is_left_out(name) and parents[name] <= out
    }:
        out |= more
    kept = "".join(_COMMENT.sub("", block) for name, block in named if name not in out)
    return kept, torch


def _name_of(block: str) -> str:
    found = _PINNED.match(block)
    return canonicalize_name(found[1]) if found else ""


def _parents_of(block: str) -> set[str]:
    """Who needs it, by uv's annotation; the stack itself is "NAME (pyproject.toml)"."""
    lines = (line.strip(" #\n").removeprefix("via ") for line in _COMMENT.findall(block))
    return {line if " " in line else canonicalize_name(line) for line in lines if line != "via"}
