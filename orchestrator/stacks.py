"""Stacks: one folder each, read from its pyproject.toml and nowhere else.

The folders in envs/ are the registry: what is there exists. People add their own with --stacks.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from orchestrator import paths
from orchestrator.errors import StackError, unknown_name
from orchestrator.stack_file import ModelEntry, SourceBuild, read_stack_file
from schemas.records import Accelerator


@dataclass(frozen=True)
class Model:
    """A named entry of a stack."""

    name: str
    checkpoint: str | None
    revision: str | None
    without: tuple[str, ...]  # patterns of files of the repository that it does not need
    options: dict[str, Any]
    transcribe_options: dict[str, Any]
    languages: tuple[str, ...]
    licence: str | None
    remote_code: bool = False  # the checkpoint brings code of its own, which is run


@dataclass(frozen=True)
class Stack:
    """A folder of dependencies, lock and models."""

    name: str
    folder: Path
    requires_python: str
    dependencies: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]  # one per accelerator that adds or changes packages
    without: dict[str, tuple[str, ...]]  # by accelerator: what others ask for, and no env has
    uv_settings: dict[str, Any]  # [tool.uv]: overrides, sources
    worker: str
    accelerators: tuple[Accelerator, ...]
    models: tuple[Model, ...]
    source_builds: dict[Accelerator, SourceBuild]  # what is compiled here rather than taken built

    def requirements(self, accelerator: Accelerator) -> tuple[str, ...]:
        """What it asks for on an accelerator."""
        return self.dependencies + self.groups.get(accelerator, ())

    @property
    def worker_file(self) -> Path:
        """The worker's source: beside the stack's TOML, or in workers/."""
        if self.worker.endswith(".py"):
            return self.folder / self.worker
        return paths.WORKERS / f"{self.worker}.py"

    @property
    def worker_address(self) -> str:
        """What the host is told: a module name in workers/, or an absolute path."""
        return str(self.worker_file) if self.worker.endswith(".py") else self.worker

    @property
    def worker_sha256(self) -> str:
        """Hash of the worker's source, part of what an attempt's answer depends on."""
        if self.worker.endswith(".py"):  # it may import its neighbours
            files = sorted(self.folder.glob("*.py"))
        else:
            files = _with_what_it_imports(self.worker_file)
        code = b"\0".join(file.name.encode() + file.read_bytes() for file in files)
        return hashlib.sha256(code).hexdigest()


def load_stacks(extra: Sequence[Path] = ()) -> dict[str, Stack]:
    """The shipped stacks, those of ASRBENCH_STACKS and of extra, by name.

    Raises StackError for the first file that is wrong, naming file and key.
    """
    stacks: dict[str, Stack] = {}
    for folder in _stack_folders(extra):
        stack = read_stack(folder)
        if stack.name in stacks:
            raise StackError(
                f"two stacks are named {stack.name!r}: {stacks[stack.name].folder} and {folder}; "
                "rename one folder and its project.name"
            )
        stacks[stack.name] = stack
    _check_model_names(stacks.values())
    return stacks


def read_stack(folder: Path) -> Stack:
    """One stack from its folder. Raises StackError naming the file and the key."""
    file = folder / "pyproject.toml"
    parsed = read_stack_file(file)
    project, tool = parsed.project, parsed.tool.asrbench
    stack = Stack(
        name=project.name,
        folder=folder,
        requires_python=project.requires_python,
        dependencies=tuple(project.dependencies),
        groups={key: tuple(value) for key, value in project.optional_dependencies.items()},
        without={
            key: tuple(canonicalize_name(name) for name in names)
            for key, names in tool.without.items()
        },
        uv_settings=parsed.tool.uv,
        worker=tool.worker,
        accelerators=tuple(tool.accelerators),
        models=tuple(_model(name, entry) for name, entry in tool.models.items()),
        source_builds=tool.source_builds,
    )
    if not _is_inside(stack.worker_file, folder, paths.WORKERS) or not stack.worker_file.is_file():
        raise StackError(
            f"{file}: tool.asrbench.worker is {tool.worker!r}, but there is no {stack.worker_file}"
        )
    return stack


def find_model(stacks: Iterable[Stack], name: str) -> tuple[Stack, Model]:
    """The model of that name and its stack; UsageError with the nearest name otherwise."""
    by_name = {model.name: (stack, model) for stack in stacks for model in stack.models}
    if name not in by_name:
        raise unknown_name("model", name, by_name)
    return by_name[name]


def find_stack(stacks: dict[str, Stack], name: str) -> Stack:
    """The stack of that name; UsageError with the nearest name otherwise."""
    if name not in stacks:
        raise unknown_name("stack", name, stacks)
    return stacks[name]


def _stack_folders(extra: Sequence[Path]) -> list[Path]:
    from_environment = os.environ.get("ASRBENCH_STACKS", "").split(os.pathsep)
    roots = [("ASRBENCH_STACKS", Path(part)) for part in from_environment if part]
    roots += [("--stacks", root) for root in extra]
    folders = _stacks_below(paths.SHIPPED_STACKS)
    for origin, root in roots:
        found = _stacks_of(origin, root)
        folders += [folder for folder in found if folder not in folders]
    return folders


def _stacks_of(origin: str, root: Path) -> list[Path]:
    """origin: the option or variable that named it."""
    paths.require_utf8(origin, root)
    if not root.is_dir():
        raise StackError(f"{origin} {root}: there is no such folder")
    real = root.resolve()
    found = [real] if (real / "pyproject.toml").is_file() else _stacks_below(real)
    if not found:
        raise StackError(f"{origin} {real}: no folder in it has a pyproject.toml")
    for folder in found:  # links lead anywhere
        paths.require_utf8(origin, folder)
    return found


def _stacks_below(root: Path) -> list[Path]:
    return sorted(file.parent for file in root.glob("*/pyproject.toml"))


def _model(name: str, entry: ModelEntry) -> Model:
    return Model(
        name=name,
        checkpoint=entry.checkpoint,
        revision=entry.revision,
        without=tuple(entry.without),
        options=entry.options,
        transcribe_options=entry.transcribe_options,
        languages=tuple(entry.languages),
        licence=entry.licence,
        remote_code=entry.remote_code,
    )


def _is_inside(file: Path, *folders: Path) -> bool:
    return file.resolve().parent in {folder.resolve() for folder in folders}


def _with_what_it_imports(worker: Path) -> list[Path]:
    """The worker's file and those of workers/ that it needs: families share some."""
    found, left = {worker}, [worker]
    while left:
        for node in ast.walk(ast.parse(left.pop().read_bytes())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workers."):
                file = paths.WORKERS / f"{(node.module or '').removeprefix('workers.')}.py"
                if file not in found:
                    found.add(file)
                    left.append(file)
    return sorted(found)


def _check_model_names(stacks: Iterable[Stack]) -> None:
    owner: dict[str, Stack] = {}
    for stack in stacks:
        for model in stack.models:
            if model.name in owner:
                raise StackError(
                    f"model {model.name!r} is in two stacks: {owner[model.name].folder} "
                    f"and {stack.folder}; rename one"
                )
            owner[model.name] = stack
