"""asrbench env."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import env_packages
from orchestrator.cli.env_stacks import asked_for, every_stack, say, tell_error
from orchestrator.cli.shared import accelerator_option, package_options, stacks_option
from orchestrator.errors import EXIT_NOTHING_RAN, EXIT_OK, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from orchestrator.environments.choice import Asked


@click.group("env")
def command() -> None:
    """Build, check, lock and remove the models' environments.

    Each stack has its own; what happens to one never touches another.
    """


@command.command(
    epilog="\b\nExamples:\n  asrbench env build pocketsphinx\n  asrbench env build --all"
)
@click.argument("stack", required=False)
@click.option("--all", "every", is_flag=True, help="Every stack, one after the other.")
@accelerator_option
@package_options
@stacks_option
@click.pass_context
def build(
    ctx: click.Context,
    stack: str | None,
    every: bool,
    accelerator: Asked | None,
    stacks: tuple[Path, ...],
) -> None:
    """Build the env of STACK from its lock, unless it is there already.

    Exit code 0 when it is there, 3 when one could not be built.
    """
    from orchestrator.environments.build import ensure_env
    from orchestrator.environments.choice import choose
    from orchestrator.errors import AsrbenchError

    found = asked_for("build", stack, every, stacks)
    right = []
    for number, one in enumerate(found, 1):
        if every:
            click.echo(f"{one.name}: {number} of {len(found)}")
        try:
            env = ensure_env(one, choose(one, accelerator or "auto").first, say)
            click.echo(f"{env.folder}")
            right.append(True)
        except AsrbenchError as error:
            if not every:
                raise
            tell_error(one, error)
            right.append(False)
    ctx.exit(EXIT_OK if all(right) else EXIT_NOTHING_RAN)


@command.command(epilog="\b\nExample:\n  asrbench env rebuild pocketsphinx")
@click.argument("stack")
@accelerator_option
@package_options
@stacks_option
def rebuild(stack: str, accelerator: Asked | None, stacks: tuple[Path, ...]) -> None:
    """Build the env of STACK anew; the old one stays until the new one works."""
    from orchestrator.environments.build import rebuild_env
    from orchestrator.environments.choice import choose
    from orchestrator.stacks import find_stack

    found = find_stack(every_stack(stacks), stack)
    env = rebuild_env(found, choose(found, accelerator or "auto").first, say)
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
    for item in inventory(every_stack(stacks)):
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


@command.command(epilog="\b\nExample:\n  asrbench env remove pocketsphinx")
@click.argument("stack")
@stacks_option
def remove(stack: str, stacks: tuple[Path, ...]) -> None:
    """Delete all envs of STACK, also those of older locks. Lock and checkpoints stay."""
    from orchestrator.environments.store import list_envs, remove_env
    from orchestrator.errors import unknown_name

    built = [env for env in list_envs() if env.stack == stack]
    known = set(every_stack(stacks)) | {env.stack for env in list_envs()}
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
    from orchestrator.environments.bytecode import drop_unused
    from orchestrator.environments.inventory import size_of, unneeded
    from orchestrator.environments.store import clear_up_all, remove_env
    from orchestrator.errors import EnvError
    from orchestrator.views.text import printable

    code = EXIT_OK
    for env in unneeded():
        try:
            size = size_of(env.folder)
            remove_env(env)
        except FileNotFoundError:  # another prune was faster
            continue
        except EnvError as error:
            click.echo(printable(str(error)), err=True)
            code = EXIT_SOME_FAILED
            continue
        freed = (size.total_bytes - size.shared_bytes) / 1e6
        click.echo(printable(f"removed {env.folder}: {freed:.0f} MB"))
    for folder in clear_up_all():
        click.echo(printable(f"removed {folder}"))
    freed_bytes = drop_unused()
    if freed_bytes:
        click.echo(f"removed bytecode that no env has: {freed_bytes / 1e6:.0f} MB")
    ctx.exit(code)


for _command in (env_packages.check, env_packages.lock, env_packages.why, env_packages.export):
    command.add_command(_command)
