"""What envs cost beside bare uv: a check that does nothing, a warm rebuild, disk for several.

    python scripts/bench_envs.py                 a small stack, some two minutes
    python scripts/bench_envs.py --torch         torch for the CPU as well; uv has to find it, such
                                                 as by UV_FIND_LINKS=DIR

Baseline: uv doing the same installation, with compiled bytecode, from the same cache, in turns with
ours. What a build adds is the proof: the worker is started, its modules traced, and the packages
checked against each other; what it saves is the bytecode, which other envs have. A first build has
no bytecode to share, so it is measured beside them. Medians of --rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from env_trees import disk_bytes
from uv import find_uv_bin

from orchestrator import paths
from orchestrator.accelerators import CPU
from orchestrator.environments.build import ensure_env, ensure_lock, rebuild_env
from orchestrator.environments.lock import Lock
from orchestrator.environments.sources import uv_environment
from orchestrator.environments.torch_lock import LOCK_FILE, torch_sources
from orchestrator.stacks import Stack, read_stack

NO_OP_CHECKS = 200
COPIES = 3
TOML = """\
[project]
name = "{name}"
version = "0"
requires-python = "=={python}.*"
dependencies = {dependencies}
[tool.asrbench]
worker = "worker.py"
accelerators = ["cpu"]
[tool.asrbench.models.{name}]
"""
WORKER = """\
{imports}
def load(checkpoint, device):
    return None
def transcribe(model, audio):
    return ""
"""
SMALL = ["msgpack", "numpy"]
TORCH = [*SMALL, "torch", "transformers>=5"]


def quiet(_: str) -> None:
    """Progress is not part of the figures."""


def write_stack(root: Path, name: str, dependencies: list[str]) -> Stack:
    """A stack that imports what it needs, as a real worker does."""
    folder = root / "stacks" / name
    folder.mkdir(parents=True)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = TOML.format(name=name, python=python, dependencies=dependencies)
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    imports = "import torch" if "torch" in dependencies else ""
    (folder / "worker.py").write_text(WORKER.format(imports=imports), encoding="utf-8")
    return read_stack(folder)


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def bare_uv(folder: Path, lock: Lock, torch_lock: Path | None) -> None:
    """The same packages by uv alone."""

    def run(*words: str) -> None:
        command = [find_uv_bin(), *words]
        subprocess.run(command, env=uv_environment(), check=True, capture_output=True)

    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run("venv", "--relocatable", "--no-project", "--python", sys.executable, str(folder))
    options = ["--require-hashes", "--compile-bytecode", "--python", str(python)]
    run("pip", "sync", *options, str(lock.file))
    if torch_lock and lock.torch_build:
        sources = torch_sources(lock.torch_build, lock.torch, sys.version_info.minor)
        run("pip", "install", "--no-deps", *options, *sources, "-r", str(torch_lock))


def no_op(stack: Stack) -> tuple[float, int]:
    """Median seconds of a check of what is there, and how often uv was started."""
    with mock.patch.object(subprocess, "Popen", wraps=subprocess.Popen) as started:
        took = [timed(lambda: ensure_env(stack, CPU, quiet)) for _ in range(NO_OP_CHECKS)]
        return statistics.median(took), started.call_count


def rebuilds(stack: Stack, root: Path, rounds: int) -> tuple[float, float, float]:
    """Medians: ours, bare uv, ours without bytecode to share."""
    env, lock = ensure_env(stack, CPU, quiet), ensure_lock(stack, CPU, quiet)
    torch_lock = root / LOCK_FILE if lock.torch else None
    if torch_lock:
        shutil.copyfile(env.folder / LOCK_FILE, torch_lock)
    ours, bare, first = [], [], []
    for number in range(rounds):
        folder = root / f"bare-{number}"
        bare.append(timed(lambda place=folder: bare_uv(place, lock, torch_lock)))  # type: ignore[misc]
        shutil.rmtree(folder)
        ours.append(timed(lambda: rebuild_env(stack, CPU, quiet)))
        shutil.rmtree(paths.envs_home() / ".bytecode")
        first.append(timed(lambda: rebuild_env(stack, CPU, quiet)))
    return statistics.median(ours), statistics.median(bare), statistics.median(first)


def several(root: Path, name: str, dependencies: list[str]) -> tuple[int, int]:
    """Bytes on disk of one env, and of COPIES of them in stacks of their own."""
    envs = [
        ensure_env(write_stack(root, f"{name}-{number}", dependencies), CPU, quiet).folder
        for number in range(COPIES)
    ]
    return disk_bytes(envs[0]), disk_bytes(*envs)


def report(root: Path, name: str, dependencies: list[str], rounds: int) -> None:
    """Measure one kind of stack and print its lines."""
    stack = write_stack(root, name, dependencies)
    ensure_env(stack, CPU, quiet)  # fills the cache
    check_s, started = no_op(stack)
    ours_s, bare_s, first_s = rebuilds(stack, root, rounds)
    one, all_of_them = several(root, name, dependencies)
    print(f"{name}: check of what is there  {check_s * 1e3:.2f} ms, uv was started {started} times")
    print(
        f"{name}: warm rebuild  {ours_s:.2f} s, bare uv {bare_s:.2f} s, ratio {ours_s / bare_s:.2f}"
    )
    print(f"{name}: without bytecode  {first_s:.2f} s, ratio {first_s / bare_s:.2f}")
    print(
        f"{name}: {COPIES} envs on disk  {all_of_them / 1e6:.0f} MB, one {one / 1e6:.0f} MB, "
        f"ratio {all_of_them / one:.2f}"
    )


def main() -> None:
    """Print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--torch", action="store_true", help="an env with torch, too")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.environ.setdefault("UV_CACHE_DIR", str(paths.cache_home() / "uv"))
    with tempfile.TemporaryDirectory(prefix="asrbench-bench-", dir=paths.cache_home()) as name:
        root = Path(name)  # on the disk of uv's cache, or nothing could be shared
        os.environ["ASRBENCH_HOME"] = str(root / "home")
        report(root, "small", SMALL, given.rounds)
        if given.torch:
            report(root, "with-torch", TORCH, given.rounds)


if __name__ == "__main__":
    main()
