"""envs/accelerators.toml: which torch an env gets, and from which index.

The torch family is the one set of packages whose versions and index depend on the accelerator.
"""

from __future__ import annotations

import datetime
import fnmatch
import functools
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from orchestrator import paths
from orchestrator.errors import UsageError
from schemas.records import Accelerator

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
_Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*\*?$")]
_Extra = Annotated[str, StringConstraints(pattern=r"^[a-z0-9{][a-z0-9{}_-]*$")]
_Target = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+$")]
_Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]
Ranges = Mapping[str, SpecifierSet]  # of members of the family: what a stack itself asks of them
_SAFE_INDEX = re.compile(r"^(https://|file:///|http://(127\.0\.0\.1|localhost|\[::1\])[:/])")


def _checked_index(url: str) -> str:
    if not _SAFE_INDEX.match(url):
        raise ValueError("has to begin with https:// (or file:///)")
    if re.search(r"[@?#\s]", url):
        raise ValueError("must hold no user, password or query; put them into your .netrc")
    return url


def _exact(version: str) -> str:
    return str(Version(version))  # InvalidVersion is a ValueError


class TorchBuild(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accelerator: Accelerator
    systems: tuple[Literal["linux", "win32", "darwin"], ...]
    targets: tuple[_Target, ...] = ()
    index: Annotated[str, AfterValidator(_checked_index)] | None = None
    versions: dict[_Name, Annotated[str, AfterValidator(_exact)]]
    extras: dict[_Name, _Extra] = {}
    build_environment: dict[_Variable, str] = {}
    environment: dict[_Variable, str] = {}
    source: str  # where the facts are from
    checked: datetime.date

    def requirements(self, names: Iterable[str]) -> list[str]:
        """Exact, for these members of the family: === refuses 2.14.0+rocm where 2.14.0 is asked."""
        extras = {name: f"[{extra}]" for name, extra in self.extras.items()}
        return [f"{name}{extras.get(name, '')}==={self.versions[name]}" for name in names]

    def satisfies(self, ranges: Ranges) -> bool:
        """Whether none of its versions is outside of what a stack asks for."""
        return all(
            ranges[name].contains(Version(version).public, prereleases=True)
            for name, version in self.versions.items()
            if name in ranges
        )

    @property
    def identity(self) -> str:
        """All of it that what is installed depends on."""
        return self.model_dump_json(include={"index", "versions", "extras", "build_environment"})

    def for_target(self, target: str) -> TorchBuild:
        """The row with the GPU's name in the place of {target}."""

        def put(values: dict[str, str]) -> dict[str, str]:
            return {name: value.replace("{target}", target) for name, value in values.items()}

        return self.model_copy(
            update={
                "extras": put(self.extras),
                "build_environment": put(self.build_environment),
                "environment": put(self.environment),
            }
        )


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    left_out: tuple[_Pattern, ...] = ()
    torch: tuple[TorchBuild, ...]


def torch_build(
    accelerator: Accelerator, target: str | None, ranges: Ranges, system: str = sys.platform
) -> TorchBuild | None:
    """The first row that fits; None if there is no such torch. Raises UsageError."""
    for row in _rows(accelerator, system, ranges):
        if not row.targets:
            return row
        if target in row.targets:
            return row.for_target(target or "")
    return None


def torch_build_anywhere(
    accelerator: Accelerator, system: str, ranges: Ranges
) -> TorchBuild | None:
    """The first row for that system, whatever the GPU."""
    return next(_rows(accelerator, system, ranges), None)


def _rows(accelerator: Accelerator, system: str, ranges: Ranges) -> Iterator[TorchBuild]:
    for row in _table().torch:
        if row.accelerator == accelerator and system in row.systems and row.satisfies(ranges):
            yield row


def torch_ranges(requirements: Iterable[str]) -> Ranges:
    """What they ask of the family. One with a marker is left to the resolver, as a row is chosen
    for all platforms that share a lock.
    """
    found: dict[str, SpecifierSet] = {}
    for one in map(Requirement, requirements):
        name = canonicalize_name(one.name)
        if name in family() and one.marker is None:
            found[name] = found.get(name, SpecifierSet()) & one.specifier
    return found


def family() -> set[str]:
    """The packages that the table has versions of."""
    return {name for row in _table().torch for name in row.versions}


def is_left_out(name: str) -> bool:
    """Whether it is of one accelerator alone, and so belongs into no lock that all share."""
    return name in family() or any(fnmatch.fnmatchcase(name, one) for one in _table().left_out)


def public_versions(ranges: Ranges) -> dict[str, str]:
    """Of each member of the family the version of the first row that satisfies them.

    Without what is after its +. Empty if no row does.
    """
    found: dict[str, str] = {}
    for row in _table().torch:
        if row.satisfies(ranges):
            for name, version in row.versions.items():
                found.setdefault(name, Version(version).public)
    return found


def in_words(ranges: Ranges) -> str:
    """torch==2.5.0, torchvision<0.21."""
    return ", ".join(f"{name}{versions}" for name, versions in ranges.items())


def offers(ranges: Ranges, accelerator: Accelerator | None = None, system: str = "") -> str:
    """The versions that rows have of what is asked for; of all rows, or of an accelerator's."""
    found: dict[str, list[str]] = {name: [] for name in ranges}
    for row in _table().torch:
        if accelerator is None or (row.accelerator == accelerator and system in row.systems):
            for name in ranges.keys() & row.versions.keys():
                version = Version(row.versions[name]).public
                found[name] += [version] if version not in found[name] else []
    return "; ".join(f"{name} {', '.join(known)}" for name, known in found.items() if known)


def table_file() -> Path:
    """The one that ships, or the user's own."""
    own = os.environ.get("ASRBENCH_ACCELERATORS")
    return Path(own).absolute() if own else paths.SHIPPED_STACKS / "accelerators.toml"


def _table() -> _Table:
    return _read(table_file())


@functools.cache
def _read(file: Path) -> _Table:
    try:
        return _Table.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise UsageError(f"{file}: {key}: {problem['msg']}") from error
