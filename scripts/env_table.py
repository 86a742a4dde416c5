"""Build every stack of envs/ that this machine can, and write the table in envs/README.md.

    python scripts/env_table.py            two builds of each: with an empty cache, with a full one

A stack that cannot be built has a line that says why. Figures are of this machine.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
from pathlib import Path

from orchestrator import paths
from orchestrator.environments.build import ensure_env, rebuild_env
from orchestrator.environments.choice import choose
from orchestrator.environments.inventory import size_of
from orchestrator.errors import AsrbenchError
from orchestrator.stacks import Stack, load_stacks

README = paths.SHIPPED_STACKS / "README.md"
BEGIN, END = "<!-- table: scripts/env_table.py -->", "<!-- end of table -->"
HEAD = """\
| stack | built for | Python | packages | first build, s | with a full cache, s | MB | proved |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def line(stack: Stack) -> str:
    """Its two builds, with its models' workers started in each."""
    try:
        way = choose(stack).first
        env = ensure_env(stack, way, quiet)
        again = rebuild_env(stack, way, quiet)
    except AsrbenchError as error:
        first = str(error).partition("\n")[0].replace("|", "/")
        return f"| {stack.name} | - | - | - | - | - | - | no: {first} |\n"
    size_mb = size_of(again.folder).total_bytes / 1e6
    packages = len(list(again.folder.glob("**/site-packages/*.dist-info")))
    return (
        f"| {stack.name} | {again.accelerator} | {again.python_version} | {packages} | "
        f"{env.build_s:.1f} | {again.build_s:.1f} | {size_mb:.0f} | hello, import |\n"
    )


def quiet(_: str) -> None:
    """Progress is not part of the table."""


def main() -> None:
    """Write the table and print it."""
    with tempfile.TemporaryDirectory(prefix="asrbench-table-", ignore_cleanup_errors=True) as name:
        os.environ["ASRBENCH_HOME"] = name
        os.environ["UV_CACHE_DIR"] = str(Path(name) / "uv")
        lines = [line(stack) for stack in load_stacks().values()]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical cores"
    table = f"{HEAD}{''.join(lines)}\nMeasured on {machine}, Python {platform.python_version()}.\n"
    text = README.read_text(encoding="utf-8")
    if BEGIN not in text:
        raise SystemExit(f"{README} has no line {BEGIN}")
    found = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)
    README.write_text(found.sub(lambda _: table, text), encoding="utf-8")
    sys.stdout.write(table)


if __name__ == "__main__":
    main()
