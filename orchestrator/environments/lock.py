"""A stack's lock: exact versions with hashes for every platform, and no package host.

It lies beside the stack's pyproject.toml and carries the hash of what it was made from, so that a
lock which no longer matches its stack is an error and never a surprise.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from orchestrator import paths
from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError, StackError
from orchestrator.files import write_whole
from orchestrator.stacks import Stack

_STAMP = re.compile(r"^# stack-sha256: ([0-9a-f]{64})$", re.MULTILINE)
MINORS = range(9, 20)


@dataclass(frozen=True)
class Lock:
    """A lock that matches its stack."""

    file: Path
    text: str

    @property
    def sha256(self) -> str:
        """Identity of the packages."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def lock_file(stack: Stack, accelerator: str) -> Path:
    """One lock for all accelerators, or one for each that has a group of its own."""
    suffix = f"-{accelerator}" if accelerator in stack.groups else ""
    return stack.folder / f"requirements{suffix}.lock"


def read_lock(stack: Stack, accelerator: str) -> Lock | None:
    """The lock, None if there is none yet. Raises StackError if it does not match its stack."""
    file = lock_file(stack, accelerator)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"cannot read {file}: {error}") from error
    stamp = _STAMP.search(text)
    if stamp is None or stamp[1] != _stack_sha256(stack, accelerator):
        raise StackError(
            f"{file} does not match {stack.folder / 'pyproject.toml'}: its dependencies or Python "
            f"range changed; refresh it: asrbench env lock {stack.name}"
        )
    return Lock(file, text)


def make_lock(stack: Stack, accelerator: str) -> Lock:
    """Resolve anew and write the lock. Raises EnvError with the resolver's words."""
    file = lock_file(stack, accelerator)
    arguments = ["pip", "compile", "pyproject.toml", "--universal", "--generate-hashes"]
    arguments += ["--python-version", f"3.{allowed_minors(stack)[0]}"]
    arguments += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    if accelerator in stack.groups:
        arguments += ["--extra", accelerator]
    log = paths.envs_home() / "logs" / f"{stack.name}-lock.log"
    resolved = run_uv(arguments, stack.folder, log, f"stack {stack.name!r} cannot be locked")
    text = (
        f"# Made by: asrbench env lock {stack.name}\n"
        f"# stack-sha256: {_stack_sha256(stack, accelerator)}\n{resolved}"
    )
    try:
        write_whole(file, text)
    except OSError as error:
        raise EnvError(
            f"the lock of stack {stack.name!r} cannot be written to {file}: {error.strerror}; "
            "make the folder writable or lock it on another machine"
        ) from error
    return Lock(file, text)


def allowed_minors(stack: Stack) -> list[int]:
    """Python 3 minor versions in the stack's range, ascending. Raises StackError for none."""
    try:
        allowed = SpecifierSet(stack.requires_python)
    except InvalidSpecifier as error:
        raise StackError(f"{stack.folder / 'pyproject.toml'}: requires-python: {error}") from error
    # the highest patch a minor may reach, so that ">=3.10.4" includes 3.10
    minors = [minor for minor in MINORS if allowed.contains(f"3.{minor}.99")]
    if not minors:
        raise StackError(
            f"{stack.folder / 'pyproject.toml'}: no Python from 3.{MINORS[0]} on is in "
            f"requires-python {stack.requires_python!r}"
        )
    return minors


def _stack_sha256(stack: Stack, accelerator: str) -> str:
    made_from: list[Any] = [stack.requires_python, sorted(stack.dependencies)]
    made_from.append(sorted(stack.groups.get(accelerator, ())))
    if stack.uv_settings:
        made_from.append(stack.uv_settings)
    text = json.dumps(made_from, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
