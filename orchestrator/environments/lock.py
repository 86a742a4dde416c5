"""A stack's lock: exact versions with hashes for every platform, and no package host.

It lies beside the stack's pyproject.toml and carries the hash of what it was made from, so that a
lock which no longer matches its stack is an error and never a surprise.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from orchestrator import paths
from orchestrator.accelerators import Way
from orchestrator.environments.torch_builds import (
    Ranges,
    TorchBuild,
    family,
    in_words,
    offers,
    public_versions,
    table_file,
    torch_build,
    torch_ranges,
)
from orchestrator.environments.uv import run_uv
from orchestrator.environments.without_torch import without_torch
from orchestrator.errors import EnvError, StackError
from orchestrator.files import write_whole
from orchestrator.stack_file import SourceBuild
from orchestrator.stacks import Stack

_STAMP = re.compile(r"^# stack-sha256: ([0-9a-f]{64})$", re.MULTILINE)
_TORCH = re.compile(r"^# from accelerators\.toml: (\S[^\n]*)$", re.MULTILINE)
_VERSION = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_FROM_GIT = re.compile(r"^[^\s#][^\s@]* @ git\+\S+@[0-9a-f]{40}\b[^\\\n]*\n?", re.MULTILINE)
MINORS = range(9, 20)
MACOS = {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # torch has no wheels for older ones


@dataclass(frozen=True)
class Lock:
    """A lock that matches its stack, the torch that goes with it, and what is compiled here."""

    file: Path
    text: str
    torch_build: TorchBuild | None = None  # None too where this machine has no such torch
    source_build: SourceBuild | None = None

    @property
    def torch(self) -> list[str]:
        """The packages that are not in the lock itself, as they depend on the accelerator."""
        found = _TORCH.search(self.text)
        return [one.partition("==")[0] for one in found[1].split()] if found else []

    @property
    def from_git(self) -> list[str]:
        """Lines for packages that are pinned by a commit, which uv knows no other hash of."""
        return _FROM_GIT.findall(self.text)

    @property
    def hashed(self) -> str:
        """All other lines."""
        return _FROM_GIT.sub("", self.text)

    @property
    def variables(self) -> dict[str, str]:
        """What workers run with."""
        return dict(self.torch_build.environment) if self.torch_build and self.torch else {}

    @property
    def sha256(self) -> str:
        """Identity of the packages."""
        builds = [self.torch_build.identity] if self.torch_build else []
        builds += [source_build_identity(self.source_build)] if self.source_build else []
        return hashlib.sha256("\n".join([self.text, *builds]).encode()).hexdigest()


def pins(text: str) -> dict[str, set[str]]:
    """The versions that a lock's text has of each package: some have one for each Python."""
    found: dict[str, set[str]] = {}
    for name, version in _VERSION.findall(text):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def lock_file(stack: Stack, accelerator: str) -> Path:
    """One lock for all accelerators, or one for each that adds packages or leaves some out."""
    own = accelerator in stack.groups or accelerator in stack.without
    suffix = f"-{accelerator}" if own else ""
    return stack.folder / f"requirements{suffix}.lock"


def read_lock(stack: Stack, way: Way) -> Lock | None:
    """The lock, None if there is none yet. Raises StackError if it does not match its stack."""
    accelerator, file = way.accelerator, lock_file(stack, way.accelerator)
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
    ranges = torch_ranges(stack.requirements(accelerator))
    if _torch_line(text) != _torch_line_of(Lock(file, text).torch, ranges):
        raise StackError(
            f"{file} was made for another torch than {table_file()} has; refresh it: "
            f"asrbench env lock {stack.name}"
        )
    return _lock(file, text, stack, way)


def make_lock(stack: Stack, way: Way) -> Lock:
    """Resolve anew and write the lock. Raises EnvError with the resolver's words."""
    accelerator, file = way.accelerator, lock_file(stack, way.accelerator)
    arguments = ["pip", "compile", "pyproject.toml", "--universal", "--generate-hashes"]
    arguments += ["--python-version", f"3.{allowed_minors(stack)[0]}"]
    arguments += ["--no-header", "--no-emit-index-url", "--no-emit-find-links"]
    arguments += ["--annotate", "--annotation-style", "split"]  # see without_torch
    if accelerator in stack.groups:
        arguments += ["--extra", accelerator]
    log = paths.envs_home() / "logs" / f"{stack.name}-lock.log"
    what = f"stack {stack.name!r} cannot be locked"
    ranges = torch_ranges(stack.requirements(accelerator))
    versions = public_versions(ranges)
    if ranges and not versions:
        raise EnvError(
            f"{what}: it asks for {in_words(ranges)}, and no row of {table_file()} has that; "
            f"there is: {offers(ranges)}"
        )
    # ===, as == would also take what an index or a folder has of it for one accelerator
    lines = [f"{name}==={version}\n" for name, version in versions.items()]
    exact, excludes = log.with_suffix(".torch.txt"), log.with_suffix(".without.txt")
    try:
        exact.parent.mkdir(parents=True, exist_ok=True)
        exact.write_text("".join(lines), encoding="utf-8")
        excludes.write_text("\n".join(stack.without.get(accelerator, ())), encoding="utf-8")
    except OSError as error:
        raise EnvError(f"{what}: cannot write {error.filename}: {error.strerror}") from error
    arguments += ["--constraints", str(exact), "--excludes", str(excludes)]
    resolved = run_uv(arguments, stack.folder, log, what, MACOS)
    kept, torch = without_torch(resolved)
    text = (
        f"# Made by: asrbench env lock {stack.name}\n"
        f"# stack-sha256: {_stack_sha256(stack, accelerator)}\n"
        + _torch_line_of(torch, ranges)
        + kept
    )
    try:
        write_whole(file, text)
    except OSError as error:
        raise EnvError(
            f"the lock of stack {stack.name!r} cannot be written to {file}: {error.strerror}; "
            "make the folder writable or lock it on another machine"
        ) from error
    return _lock(file, text, stack, way)


def lock_all(stack: Stack) -> list[Lock]:
    """One for each file that the stack's accelerators need."""
    by_file = {lock_file(stack, accelerator): accelerator for accelerator in stack.accelerators}
    return [make_lock(stack, Way(accelerator)) for accelerator in by_file.values()]


def source_build_identity(build: SourceBuild) -> str:
    """What tells one way to compile the packages from another."""
    return json.dumps(build.model_dump(), sort_keys=True)


def _lock(file: Path, text: str, stack: Stack, way: Way) -> Lock:
    source_build = stack.source_builds.get(way.accelerator)
    for package in source_build.packages if source_build else ():
        if canonicalize_name(package) not in pins(text):
            raise StackError(
                f"{stack.folder / 'pyproject.toml'}: tool.asrbench.source_builds.{way.accelerator} "
                f"names {package!r}, which the stack does not need"
            )
    ranges = torch_ranges(stack.requirements(way.accelerator))
    torch = torch_build(way.accelerator, way.target, ranges) if Lock(file, text).torch else None
    made_for = source_build.for_target(way.target) if source_build else None
    return Lock(file, text, torch, made_for)


def _torch_line_of(names: Sequence[str], ranges: Ranges) -> str:
    versions = public_versions(ranges)
    found = [f"{name}=={versions.get(name)}" for name in names]
    return f"# from accelerators.toml: {' '.join(found)}\n" if found else ""


def _torch_line(text: str) -> str:
    """What a lock was made for; a member of the family in the lock itself is of an old asrbench."""
    found = _TORCH.search(text)
    inside = family() & set(pins(text))
    return " ".join(sorted(inside)) + (f"{found[0]}\n" if found else "")


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
    if accelerator in stack.without:
        made_from.append({"without": sorted(stack.without[accelerator])})
    text = json.dumps(made_from, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
