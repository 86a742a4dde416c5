"""A stack's pyproject.toml: which keys it may have, what they may hold, what is wrong with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from orchestrator.errors import StackError
from orchestrator.remote_code import check_remote_code
from schemas.framing import FramingError, encode_frame
from schemas.records import Accelerator

# names become file names and command-line words
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=60)]


# owner/repository, or of it owner/repository:folder/file or owner/repository:folder/; no part of it
# leaves its folder
_CHECKPOINT = r"^\w[\w.-]*/\w[\w.-]*(:\w[\w.-]*(/\w[\w.-]*)*/?)?$"


_GIT_COMMIT = re.compile(r"@[0-9a-f]{40}(#\S*)?$")


def _checked_requirement(text: str) -> str:
    """One package as PEP 508 spells it; from git only by the full hash of a commit."""
    if not text.isprintable():
        raise ValueError(f"{text!r} is not a requirement: it has a line break or the like in it")
    try:
        url = Requirement(text).url
    except InvalidRequirement as error:
        raise ValueError(f"{text!r} is not a requirement: {error}") from error
    if url and url.startswith("git+") and not _GIT_COMMIT.search(url):
        raise ValueError(f"{text!r} has to name the full hash of a commit: name @ git+URL@HASH")
    return text


_Requirement = Annotated[str, AfterValidator(_checked_requirement)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _sendable(options: dict[str, Any]) -> dict[str, Any]:
    """What a worker can be told: no dates, no integers over 64 bit."""
    try:
        encode_frame({"options": options})
    except (TypeError, ValueError, OverflowError, FramingError) as error:
        raise ValueError(f"cannot be sent to a worker: {error}") from error
    return options


Options = Annotated[dict[str, Any], AfterValidator(_sendable)]


class ModelEntry(_Strict):
    """[tool.asrbench.models.NAME]."""

    checkpoint: Annotated[str, StringConstraints(pattern=_CHECKPOINT)] | None = None
    revision: Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")] | None = None
    without: list[Annotated[str, StringConstraints(min_length=1)]] = []
    options: Options = {}
    transcribe_options: Options = {}
    languages: list[str] = []
    licence: str | None = None
    remote_code: bool = False


_Package = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]+([._-]+[A-Za-z0-9]+)*$")]


def _checked_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
        raise ValueError(f"{name!r} is no variable: capital letters, digits and underscores")
    if name.startswith(("UV_", "PIP_")):
        raise ValueError(f"{name} would change what is installed, and not how it is compiled")
    return name


_BuildVariable = Annotated[str, AfterValidator(_checked_variable)]


class SourceBuild(_Strict):
    """[tool.asrbench.source_builds.ACCELERATOR]: what is compiled here, by which variables."""

    packages: list[_Package] = Field(min_length=1)
    environment: dict[_BuildVariable, str] = {}

    def for_target(self, target: str | None) -> SourceBuild:
        """With the GPU's name in the place of {target}.

        Where none is known such variables are left out: the package's own build looks for one.
        """
        put = {
            name: value.replace("{target}", target or "")
            for name, value in self.environment.items()
            if target or "{target}" not in value
        }
        return self.model_copy(update={"environment": put})


class _Asrbench(_Strict):
    worker: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*(\.py)?$")]
    accelerators: list[Accelerator] = Field(min_length=1)
    without: dict[Accelerator, list[_Package]] = {}
    source_builds: dict[Accelerator, SourceBuild] = {}
    models: dict[Name, ModelEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _without_where_it_runs(self) -> Self:
        unknown = self.without.keys() - set(self.accelerators)
        if unknown:
            raise ValueError(f"without names {', '.join(sorted(unknown))}, not an accelerator here")
        return self


class _Project(BaseModel):
    model_config = ConfigDict(frozen=True)  # other standard keys are uv's business
    name: Name
    requires_python: str = Field(alias="requires-python")
    dependencies: list[_Requirement] = []
    optional_dependencies: dict[str, list[_Requirement]] = Field({}, alias="optional-dependencies")


class _Tool(BaseModel):
    asrbench: _Asrbench
    uv: dict[str, Any] = {}


class StackFile(BaseModel):
    """What this project reads of the file."""

    project: _Project
    tool: _Tool


def read_stack_file(file: Path) -> StackFile:
    """Read and check it. Raises StackError naming the file and the key."""
    try:
        parsed = StackFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise StackError(f"cannot read {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StackError(f"{file} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise StackError(f"{file}: {_first_problem(error)}") from error
    name = parsed.project.name
    if name != file.parent.name:
        raise StackError(f"{file}: project.name is {name!r} but its folder {file.parent.name!r}")
    for text in parsed.project.dependencies:
        needed = Requirement(text)
        if canonicalize_name(needed.name) == canonicalize_name(name) and not needed.marker:
            raise StackError(
                f"{file}: uv would take its dependency {text!r} for the stack itself and leave it "
                "out; rename the folder and project.name"
            )
    for accelerator in parsed.tool.asrbench.source_builds:
        if accelerator not in parsed.tool.asrbench.accelerators:
            raise StackError(
                f"{file}: tool.asrbench.source_builds.{accelerator} is for an accelerator that is "
                "not in tool.asrbench.accelerators"
            )
    for name, entry in parsed.tool.asrbench.models.items():
        pinned = entry.revision if entry.checkpoint else None
        options = {"options": entry.options, "transcribe_options": entry.transcribe_options}
        where = f"{file}: tool.asrbench.models.{name}"
        check_remote_code(where, entry.remote_code, pinned, options)
    return parsed


def _first_problem(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # a misspelt key also makes the right one missing; the misspelling is the cause
    problem = min(problems, key=lambda one: one["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(_table_of(f".{key}").model_fields)
        return f"unknown key {key}; known here: {known}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    return f"{key}: {problem['msg']}"


def _table_of(key: str) -> type[BaseModel]:
    """Where a key that is unknown would belong."""
    if ".source_builds." in key:
        return SourceBuild
    return ModelEntry if ".models." in key else _Asrbench
