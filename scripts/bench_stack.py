"""A stack as somebody else would bring it with --stacks, for the bench scripts beside this file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.accelerators import CPU
from orchestrator.environments.build import ensure_env
from orchestrator.environments.env import Env
from orchestrator.environments.store import remove_env
from orchestrator.stacks import Stack, read_stack

_TOML = """\
[project]
name = "{name}"
version = "0"
requires-python = ">=3.10,<3.15"
dependencies = ["msgpack", "numpy"]

[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
"""


@contextmanager
def built_stack(folder: Path, name: str, worker: str, models: str) -> Iterator[tuple[Stack, Env]]:
    """Write a stack into a temporary folder and build its env, which goes with it.

    worker: the source of its worker.py; models: the TOML tables of its models.
    """
    place = folder.resolve() / name
    place.mkdir()
    (place / "pyproject.toml").write_text(_TOML.format(name=name) + models, encoding="utf-8")
    (place / "worker.py").write_text(worker, encoding="utf-8")
    stack = read_stack(place)
    env = ensure_env(stack, CPU, lambda line: print(line, file=sys.stderr))
    try:
        yield stack, env
    finally:
        remove_env(env)  # no other run will have this temporary folder
