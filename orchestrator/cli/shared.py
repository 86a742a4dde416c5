"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from orchestrator.run.folder import DEFAULT_RESULTS
from schemas.records import Accelerator

if TYPE_CHECKING:
    from orchestrator.run.options import RunOptions

stacks_option: Callable[[Any], Any] = click.option(
    "--stacks",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="A folder of more stacks, or one stack; may be repeated. Also: ASRBENCH_STACKS.",
)

results_option: Callable[[Any], Any] = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=DEFAULT_RESULTS,
    show_default=True,
    metavar="DIR",
    help="Where runs are kept, one folder each.",
)

accelerator_option: Callable[[Any], Any] = click.option(
    "--accelerator",
    type=click.Choice(["auto", *get_args(Accelerator)]),
    help="Of those that the stack has a build for; default: the best that this machine can use.",
)


def _set(variable: str, value: str) -> None:
    """For uv, which is told everything by its environment."""
    os.environ[variable] = value


def _offline(ctx: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        _set("UV_OFFLINE", "1")


def _find_links(ctx: click.Context, option: click.Parameter, given: tuple[Path, ...]) -> None:
    for folder in given:
        if "," in str(folder.absolute()):
            raise click.BadParameter(f"{folder}: uv takes no folder with a comma in its name")
    if given:
        before = [os.environ[name] for name in ("UV_FIND_LINKS",) if os.environ.get(name)]
        _set("UV_FIND_LINKS", ",".join([*(str(folder.absolute()) for folder in given), *before]))


def package_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where packages may come from."""
    offline = click.option(
        "--offline",
        is_flag=True,
        expose_value=False,
        callback=_offline,
        help="Fetch nothing: packages come from the cache or from --find-links.",
    )
    find_links = click.option(
        "--find-links",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        multiple=True,
        expose_value=False,
        callback=_find_links,
        metavar="DIR",
        help="A folder of packages, as asrbench env export fills it; may be repeated.",
    )
    return offline(find_links(command))


json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout, for machines."
)


def checkpoint_path(text: str) -> Path:
    """Where a checkpoint lies that was given by hand: behind "=", no shell opens a ~."""
    from orchestrator.errors import UsageError

    path = Path(text)
    try:
        return (path.expanduser() if text.startswith("~") else path).absolute()
    except RuntimeError as error:
        raise UsageError(f"--checkpoint {text}: {error}") from error


def run_options(chosen: dict[str, Any]) -> RunOptions:
    """Raises UsageError for what click lets pass: nan."""
    from pydantic import ValidationError

    from orchestrator.errors import UsageError
    from orchestrator.run.options import RunOptions

    try:
        return RunOptions(**chosen)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        option = str(problem["loc"][0]).removesuffix("_s").removesuffix("_bytes").replace("_", "-")
        raise UsageError(f"--{option}: {problem['msg']}") from error
