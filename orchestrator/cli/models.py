"""asrbench models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.models_check import check
from orchestrator.cli.shared import json_option, stacks_option
from orchestrator.errors import (
    EXIT_NOTHING_RAN,
    EXIT_OK,
    EXIT_SOME_FAILED,
    AsrbenchError,
    UsageError,
    unknown_name,
)

if TYPE_CHECKING:
    from orchestrator.stacks import Model

all_option: Callable[[Any], Any] = click.option("--all", "every", is_flag=True, help="Every model.")


@click.group("models")
def command() -> None:
    """See which models there are, and whether one works here; get and delete checkpoints.

    Checkpoints are in the standard hub cache: HF_HUB_CACHE, or hub/ in HF_HOME.
    """


@command.command("list", epilog="\b\nExample:\n  asrbench models list --stacks ~/my-stacks")
@stacks_option
@json_option
def list_(stacks: tuple[Path, ...], as_json: bool) -> None:
    """Each model with its stack, licence, and whether its checkpoint is on this machine."""
    from orchestrator.checkpoints import find_checkpoint
    from orchestrator.cli.model_facts import print_models
    from orchestrator.stacks import load_stacks

    found: list[dict[str, Any]] = []
    checkpoints = []
    for stack in load_stacks(stacks).values():
        for model in stack.models:
            checkpoint = find_checkpoint(model)
            checkpoints.append(checkpoint)
            found.append(
                {
                    "model": model.name,
                    "stack": stack.name,
                    "accelerators": list(stack.accelerators),
                    "languages": list(model.languages),
                    "licence": model.licence,
                    "checkpoint": model.checkpoint,
                    "revision": model.revision,
                    "remote_code": model.remote_code,
                    "ready": checkpoint.missing is None,
                    "missing": checkpoint.missing,
                }
            )
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    print_models(found, checkpoints)


@command.command(epilog="\b\nExample:\n  asrbench models show pocketsphinx")
@click.argument("model")
@stacks_option
def show(model: str, stacks: tuple[Path, ...]) -> None:
    """All about one model: stack, checkpoint, licence, options, where it is. Asks no hub."""
    from orchestrator.cli.model_facts import of_checkpoint, of_model
    from orchestrator.stacks import find_model, load_stacks
    from orchestrator.views.text import printable

    stack, found = find_model(load_stacks(stacks).values(), model)
    for name, value in {**of_model(stack, found), **of_checkpoint(found)}.items():
        click.echo(f"{name:<18} {printable(value)}")


@command.command(
    epilog="\b\nExamples:\n  asrbench models download whisper-large-v3-turbo\n"
    "  HF_ENDPOINT=https://my-mirror asrbench models download --all"
)
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@all_option
@stacks_option
@click.pass_context
def download(
    ctx: click.Context, names: tuple[str, ...], every: bool, stacks: tuple[Path, ...]
) -> None:
    """Get the checkpoint of each MODEL, and verify it.

    What is here already is read and compared; only what is missing or damaged is fetched. An
    interrupted download goes on where it stopped. A token for gated models comes from HF_TOKEN,
    another hub from HF_ENDPOINT. Exit code 0 if every one is whole, 1 if some are not, 3 if none
    is.
    """
    from orchestrator.hub.download import download as fetch
    from orchestrator.views.download import download_view

    def get(model: Model) -> None:
        def say(text: str) -> None:
            _tell(f"{model.name}: {text}")

        path = fetch(model, say, download_view(model.name))
        say(f"verified: {path}")

    try:
        ctx.exit(_for_each(_chosen(names, every, stacks), get))
    except KeyboardInterrupt:
        click.echo("what was fetched is kept: the same command goes on with it", err=True)
        raise


@command.command(epilog="\b\nExample:\n  asrbench models verify --all")
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@all_option
@stacks_option
@click.pass_context
def verify(
    ctx: click.Context, names: tuple[str, ...], every: bool, stacks: tuple[Path, ...]
) -> None:
    """Read the checkpoint of each MODEL and compare it with what was recorded. Asks no hub.

    With --all, those that were downloaded. Exit code 0 if every one is whole, 1 if some are not, 3
    if none is.
    """
    from orchestrator.checkpoint_files import faults, size_words
    from orchestrator.checkpoint_record import recorded
    from orchestrator.checkpoints import snapshot_folder
    from orchestrator.errors import CheckpointError

    def compare(model: Model) -> None:
        mend = f"asrbench models download {model.name}"
        record = recorded(model)
        if record is None:
            raise CheckpointError(f"nothing is recorded of its checkpoint; get or check it: {mend}")
        folder = snapshot_folder(record.repository, record.commit)
        wrong = faults(folder, record)
        for name, what in wrong.items():
            click.echo(_line(f"{model.name}: {folder / name}: {what}"), err=True)
        if wrong:
            count = f"{len(wrong)} of {len(record.files)} files are not right"
            raise CheckpointError(f"{count}; mend them: {mend}")
        size = size_words(record.size_bytes)
        _tell(f"{model.name}: ok: {len(record.files)} files, {size}, in {folder}")

    chosen = _chosen(names, every, stacks)
    if every:
        chosen = [one for one in chosen if recorded(one)]
        if not chosen:
            click.echo("no checkpoint was downloaded yet")
    ctx.exit(_for_each(chosen, compare))


@command.command(epilog="\b\nExample:\n  asrbench models remove whisper-large-v3-turbo")
@click.argument("names", nargs=-1, required=True, metavar="MODEL...")
@stacks_option
@click.pass_context
def remove(ctx: click.Context, names: tuple[str, ...], stacks: tuple[Path, ...]) -> None:
    """Delete the checkpoint of each MODEL from the hub cache.

    Files that another model needs as well stay, unless it is named too. Exit code 0 if all went
    well, 1 if some could not be deleted, 3 if none could.
    """
    from orchestrator.checkpoint_files import size_words
    from orchestrator.hub.remove import remove as delete
    from orchestrator.stacks import load_stacks

    chosen = _chosen(names, every=False, stacks=stacks)
    others = [
        one
        for stack in load_stacks(stacks).values()
        for one in stack.models
        if one.name not in names
    ]

    def drop(model: Model) -> None:
        done = delete(model, others)
        if done.there_was_none:
            _tell(f"{model.name}: nothing of its checkpoint is on this machine")
            return
        _tell(f"{model.name}: {size_words(done.freed_bytes)} freed")
        if done.kept_for:
            _tell(
                f"{model.name}: files that {', '.join(done.kept_for)} needs as well were kept; "
                f"delete both: asrbench models remove {' '.join((model.name, *done.kept_for))}"
            )

    ctx.exit(_for_each(chosen, drop))


def _chosen(names: Iterable[str], every: bool, stacks: tuple[Path, ...]) -> list[Model]:
    """The models of these names, or every one that has a checkpoint. Raises UsageError."""
    from orchestrator.stacks import load_stacks

    known = {one.name: one for stack in load_stacks(stacks).values() for one in stack.models}
    names = list(dict.fromkeys(names))
    if every == bool(names):
        raise UsageError("name at least one MODEL, or all of them by --all")
    for name in names:
        if name not in known:
            raise unknown_name("model", name, known)
    return [known[name] for name in names] or [one for one in known.values() if one.checkpoint]


def _for_each(models: list[Model], act: Callable[[Model], None]) -> int:
    """Do it for each of them; what is wrong with one costs no other. Returns the exit code."""
    failed = 0
    for model in models:
        try:
            if model.checkpoint is None:
                _tell(f"{model.name}: has no checkpoint, its env brings all that it needs")
            else:
                act(model)
        except UsageError:  # a variable is wrong, for all of them
            raise
        except AsrbenchError as error:
            click.echo(_line(f"{model.name}: {error}"), err=True)
            failed += 1
    if not failed:
        return EXIT_OK
    return EXIT_NOTHING_RAN if failed == len(models) else EXIT_SOME_FAILED


def _tell(text: str) -> None:
    click.echo(_line(text))


def _line(text: str) -> str:
    from orchestrator.views.text import printable

    return printable(text)


command.add_command(check)
