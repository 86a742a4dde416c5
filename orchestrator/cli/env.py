"""asrbench env."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.shared import stacks_option
from orchestrator.errors import EXIT_NOTHING_RAN, EXIT_OK, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from orchestrator.stacks import Stack


@click.group("env")
def command() -> None:
    """Build, check, lock and remove the models' environments.

    Each stack has its own; what happens to one never touches another.
    """


@command.command(epilog="\b\nExample:\n  asrbench env build pocketsphinx")
@click.argument("stack")
@stacks_option
def build(stack: str, stacks: tuple[Path, ...]) -> None:
    """Build the env of STACK from its lock, unless it is there already."""
    from orchestrator.environments.build import choose_accelerator, ensure_env
    from orchestrator.stacks import find_stack

    found = find_stack(_every_stack(stacks), stack)
    env = ensure_env(found, choose_accelerator(found), click.echo)
    click.echo(f"{env.folder}")


@command.command(epilog="\b\nExample:\n  asrbench env rebuild pocketsphinx")
@click.argument("stack")
@stacks_option
def rebuild(stack: str, stacks: tuple[Path, ...]) -> None:
    """Build the env of STACK anew; the old one stays until the new one works."""
    from orchestrator.environments.build import choose_accelerator, rebuild_env
    from orchestrator.stacks import find_stack

    found = find_stack(_every_stack(stacks), stack)
    env = rebuild_env(found, choose_accelerator(found), click.echo)
    click.echo(f"{env.folder}")


@command.command("list")
@stacks_option
def list_(stacks: tuple[Path, ...]) -> None:
    """Each stack, and the envs that were built of it.

    Shared MB are files that uv's cache or other envs have as well: they take no room of their own.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from orchestrator.environments.inventory import inventory
    from orchestrator.views.console import table_console
    from orchestrator.views.text import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    headings = ("Stack", "Accelerator", "State", "Python", "MB", "Shared MB", "Build s", "Env")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for item in inventory(_every_stack(stacks)):
        env = item.env
        cells = (
            item.stack,
            item.accelerator,
            item.state,
            env.python_version if env else "",
            f"{item.size.total_bytes / 1e6:.0f}" if item.size else "",
            f"{item.size.shared_bytes / 1e6:.0f}" if item.size else "",
            f"{env.build_s:.1f}" if env else "",
            str(env.folder) if env else "",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    table_console().print(table)


@command.command(
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
@stacks_option
@click.pass_context
def check(
    ctx: click.Context, stack: str | None, every: bool, platforms: bool, stacks: tuple[Path, ...]
) -> None:
    """Prove that the env of STACK matches its lock, starts, and has all that its worker loads.

    Exit code 0 when it does, 3 when it does not or is not built.
    """
    from orchestrator.errors import AsrbenchError, UsageError
    from orchestrator.stacks import find_stack, load_stacks
    from orchestrator.views.text import printable_lines

    if every == (stack is not None):
        raise UsageError("env check: name one STACK, or all of them by --all")
    tell = _tell_platforms if platforms else _tell_env
    if stack is not None:
        ctx.exit(EXIT_OK if tell(find_stack(_every_stack(stacks), stack)) else EXIT_NOTHING_RAN)
    right = []
    for found in load_stacks(stacks).values():
        try:
            right.append(tell(found))
        except AsrbenchError as error:
            click.echo(f"{found.name}: {printable_lines(str(error))}", err=True)
            right.append(False)
    ctx.exit(EXIT_OK if all(right) else EXIT_NOTHING_RAN)


def _tell_env(stack: Stack) -> bool:
    """Prove it, and list what it loads. False if there is none."""
    from orchestrator import paths
    from orchestrator.environments.build import choose_accelerator, prove_env
    from orchestrator.environments.lock import read_lock
    from orchestrator.environments.store import find_env

    accelerator = choose_accelerator(stack)
    lock = read_lock(stack, accelerator)
    env = find_env(stack, accelerator, lock) if lock else None
    if env is None:
        what = "is not built for its lock" if lock else "has no lock"
        click.echo(f"{stack.name}: {what}; build it: asrbench env build {stack.name}", err=True)
        return False
    log = paths.envs_home() / "logs" / f"{stack.name}-check.log"
    proof = prove_env(stack, accelerator, env.folder, log)
    click.echo(f"{stack.name}: ok: {env.folder} (Python {env.python_version}, {accelerator})")
    for one in proof.distributions:
        click.echo(f"  {one}")
    for library in proof.system_libraries:
        click.echo(f"  this machine's own {library}")
    return True


def _tell_platforms(stack: Stack) -> bool:
    """Which Pythons its lock can be installed for. False if a platform has none."""
    from orchestrator.environments.build import choose_accelerator
    from orchestrator.environments.everywhere import PLATFORMS, check_elsewhere
    from orchestrator.environments.lock import read_lock
    from orchestrator.views.text import printable_lines

    lock = read_lock(stack, choose_accelerator(stack))
    if lock is None:
        click.echo(f"{stack.name}: has no lock; asrbench env lock {stack.name}", err=True)
        return False
    found = list(check_elsewhere(stack, lock))
    for platform in PLATFORMS:
        fits = [one.python for one in found if one.platform == platform and one.lacks is None]
        click.echo(f"{stack.name}: {platform}: Python {', '.join(fits) or 'none'}")
    for one in found:
        if one.lacks is not None:
            why = printable_lines(one.lacks)
            click.echo(f"{stack.name}: not {one.platform}, Python {one.python}:\n{why}", err=True)
    return {one.platform for one in found if one.lacks is None} == set(PLATFORMS)


@command.command(epilog="\b\nExample:\n  asrbench env lock pocketsphinx")
@click.argument("stack")
@stacks_option
def lock(stack: str, stacks: tuple[Path, ...]) -> None:
    """Resolve the dependencies of STACK anew and write its lock."""
    from orchestrator.environments.build import choose_accelerator
    from orchestrator.environments.lock import make_lock
    from orchestrator.stacks import find_stack

    found = find_stack(_every_stack(stacks), stack)
    made = make_lock(found, choose_accelerator(found))
    click.echo(f"{made.file}")


@command.command(epilog="\b\nExample:\n  asrbench env remove pocketsphinx")
@click.argument("stack")
@stacks_option
def remove(stack: str, stacks: tuple[Path, ...]) -> None:
    """Delete all envs of STACK, also those of older locks. Lock and checkpoints stay."""
    from orchestrator.environments.store import list_envs, remove_env
    from orchestrator.errors import unknown_name

    built = [env for env in list_envs() if env.stack == stack]
    known = set(_every_stack(stacks)) | {env.stack for env in list_envs()}
    if stack not in known:
        raise unknown_name("stack", stack, known)
    for env in built:
        remove_env(env)
        click.echo(f"removed {env.folder}")
    if not built:
        click.echo(f"{stack}: no env is built")


@command.command(epilog="\b\nExample:\n  asrbench env prune")
@click.pass_context
def prune(ctx: click.Context) -> None:
    """Delete the envs that no stack asks for any more, and what killed builds left.

    A stack is looked for in the folder that its env was built for. What it has locked and built
    stays, and so do checkpoints and uv's cache. Exit code 1 if one could not be deleted.
    """
    from orchestrator.environments.inventory import size_of, unneeded
    from orchestrator.environments.store import abandoned_builds, delete, remove_env
    from orchestrator.errors import EnvError
    from orchestrator.views.text import printable

    code = EXIT_OK
    for env in unneeded():
        size = size_of(env.folder)
        try:
            remove_env(env)
        except EnvError as error:
            click.echo(printable(str(error)), err=True)
            code = EXIT_SOME_FAILED
            continue
        freed = (size.total_bytes - size.shared_bytes) / 1e6
        click.echo(printable(f"removed {env.folder}: {freed:.0f} MB"))
    for folder in abandoned_builds():
        delete(folder)
        click.echo(printable(f"removed {folder}"))
    ctx.exit(code)


def _every_stack(stacks: tuple[Path, ...]) -> dict[str, Stack]:
    """Also the self-test's, which holds no model but has an env like any other."""
    from orchestrator import paths
    from orchestrator.stacks import load_stacks

    return load_stacks((*stacks, paths.PROBE_STACK))
