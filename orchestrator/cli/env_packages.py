"""asrbench env check, lock, why, export: what an env is made of, and what it could be made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.env_stacks import asked_for, every_stack, say, tell_error
from orchestrator.cli.shared import accelerator_option, package_options, stacks_option
from orchestrator.errors import EXIT_NOTHING_RAN, EXIT_OK

if TYPE_CHECKING:
    from orchestrator.accelerators import Way
    from orchestrator.environments.choice import Asked
    from orchestrator.stacks import Stack


@click.command(
    epilog="\b\nExamples:\n  asrbench env check pocketsphinx\n"
    "  asrbench env check --all --platforms"
)
@click.argument("stack", required=False)
@click.option("--all", "every", is_flag=True, help="Every stack.")
@click.option(
    "--platforms",
    is_flag=True,
    help="Instead, whether its lock has wheels for Linux x86-64, Windows x86-64 and macOS arm64, "
    "with each Python that it allows. Downloads none of them.",
)
@accelerator_option
@package_options
@stacks_option
@click.pass_context
def check(
    ctx: click.Context,
    stack: str | None,
    every: bool,
    platforms: bool,
    accelerator: Asked | None,
    stacks: tuple[Path, ...],
) -> None:
    """Prove that the env of STACK matches its lock, starts, and has all that its worker loads.

    Exit code 0 when it does, 3 when it does not or is not built.
    """
    from orchestrator.environments.choice import choose
    from orchestrator.errors import AsrbenchError

    right = []
    unreached: dict[str, str] = {}
    for found in asked_for("check", stack, every, stacks):
        try:
            if platforms:
                right.append(_tell_platforms(found, unreached))
            else:
                right.append(_tell_env(found, choose(found, accelerator or "auto").first))
        except AsrbenchError as error:
            if not every:
                raise
            tell_error(found, error)
            right.append(False)
    ctx.exit(EXIT_OK if all(right) else EXIT_NOTHING_RAN)


def _tell_env(stack: Stack, way: Way) -> bool:
    """Prove it, and list what it loads. False if there is none."""
    from orchestrator import paths
    from orchestrator.environments.build import prove_env
    from orchestrator.environments.lock import read_lock
    from orchestrator.environments.store import find_env

    lock = read_lock(stack, way)
    env = find_env(stack, way.accelerator, lock) if lock else None
    if env is None or lock is None:
        what = "is not built for its lock" if lock else "has no lock"
        click.echo(f"{stack.name}: {what}; build it: asrbench env build {stack.name}", err=True)
        return False
    log = paths.envs_home() / "logs" / f"{stack.name}-check.log"
    proof = prove_env(stack, way.accelerator, env.folder, log, lock.variables)
    click.echo(f"{stack.name}: ok: {env.folder} (Python {env.python_version}, {way.accelerator})")
    for one in proof.distributions:
        click.echo(f"  {one}")
    for library in proof.system_libraries:
        click.echo(f"  this machine's own {library}")
    return True


def _tell_platforms(stack: Stack, unreached: dict[str, str]) -> bool:
    """Which Pythons its locks can be installed for. False if a platform has none."""
    from orchestrator.environments.everywhere import PLATFORMS, check_elsewhere
    from orchestrator.views.text import printable_lines

    found = list(check_elsewhere(stack, unreached))
    for platform in PLATFORMS:
        here = [one for one in found if one.platform == platform]
        for accelerator in dict.fromkeys(one.accelerator for one in here):
            asked = [one for one in here if one.accelerator == accelerator]
            fits = [one.python for one in asked if one.lacks is None]
            unknown = "not known, its index cannot be reached"
            none = unknown if all(one.unknown for one in asked) else "none"
            named = "" if accelerator == "cpu" else f", {accelerator}"
            click.echo(f"{stack.name}: {platform}{named}: Python {', '.join(fits) or none}")
    for one in found:
        if one.lacks is not None and not one.unknown:
            why = printable_lines(one.lacks)
            what = f"{one.platform}, {one.accelerator}, Python {one.python}"
            click.echo(f"{stack.name}: not {what}:\n{why}", err=True)
    fitting = {one.platform for one in found if one.lacks is None}
    return bool(found) and fitting == {one.platform for one in found}


@click.command(epilog="\b\nExample:\n  asrbench env lock pocketsphinx")
@click.argument("stack")
@package_options
@stacks_option
def lock(stack: str, stacks: tuple[Path, ...]) -> None:
    """Resolve the dependencies of STACK anew and write its lock.

    Accelerators that add or change packages have a lock of their own, which is written too.
    """
    from orchestrator.environments.install import forget_torch
    from orchestrator.environments.lock import lock_all
    from orchestrator.stacks import find_stack

    found = find_stack(every_stack(stacks), stack)
    locks = lock_all(found)
    forget_torch(found)
    for made in locks:
        click.echo(f"{made.file}")


@click.command(epilog="\b\nExample:\n  asrbench env why pocketsphinx")
@click.argument("model")
@package_options
@stacks_option
def why(model: str, stacks: tuple[Path, ...]) -> None:
    """Tell why the stack of MODEL has an env of its own: the resolver's conflict with each other.

    Nothing is installed.
    """
    from orchestrator.environments.why import why_apart
    from orchestrator.stacks import find_model, load_stacks
    from orchestrator.views.text import printable

    known = load_stacks(stacks).values()
    own, _ = find_model(known, model)
    click.echo(f"{model} is a model of the stack {own.name}")
    others = [stack for stack in known if stack.name != own.name]
    for reason in why_apart(own, others):
        different = f" (locked apart: {', '.join(reason.different)})" if reason.different else ""
        said = reason.conflict or "no conflict: apart so that a rebuild of one leaves the other"
        click.echo(printable(f"{reason.other}: {said}{different}"))
    if not others:
        click.echo("there is no other stack")


@click.command(
    epilog="\b\nExample:\n  asrbench env export pocketsphinx wheelhouse\n"
    "  asrbench env build pocketsphinx --offline --find-links wheelhouse    on the other machine"
)
@click.argument("stack")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@accelerator_option
@package_options
@stacks_option
def export(stack: str, folder: Path, accelerator: Asked | None, stacks: tuple[Path, ...]) -> None:
    """Fill FOLDER with the packages of STACK, for a machine of this kind without network.

    Its env is built here first, so that what is carried away is known to work. The other machine
    needs asrbench, the stack's folder with its lock, and the same minor version of Python.
    """
    from orchestrator.environments.choice import choose
    from orchestrator.environments.export import export as fill
    from orchestrator.stacks import find_stack

    found = find_stack(every_stack(stacks), stack)
    files = fill(found, choose(found, accelerator or "auto").first, folder, say)
    size_bytes = sum(file.stat().st_size for file in files)
    click.echo(f"{folder.absolute()}: {len(files)} packages, {size_bytes / 1e6:.0f} MB")
