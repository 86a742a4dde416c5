"""Whether a lock can be installed on machines that this one is not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator import paths
from orchestrator.environments.lock import Lock, allowed_minors
from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError
from orchestrator.stacks import Stack

# what people have → uv's name for it; of Linux any from glibc 2.28 (2018) on
PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Windows x86-64": "x86_64-pc-windows-msvc",
    "macOS arm64": "aarch64-apple-darwin",
}


@dataclass(frozen=True)
class Elsewhere:
    """One platform and Python. lacks: uv's words if the lock cannot be installed there."""

    platform: str
    python: str
    lacks: str | None


def check_elsewhere(stack: Stack, lock: Lock) -> Iterator[Elsewhere]:
    """Ask for every locked package's wheel, on each platform with each Python of the stack.

    Nothing is downloaded but what the index tells of them.
    """
    log = paths.envs_home() / "logs" / f"{stack.name}-platforms.log"
    for platform, target in PLATFORMS.items():
        for minor in allowed_minors(stack):
            python = f"3.{minor}"
            yield Elsewhere(platform, python, _lacks(lock, target, python, log))


def _lacks(lock: Lock, target: str, python: str, log: Path) -> str | None:
    with tempfile.TemporaryDirectory(prefix="asrbench-platforms-") as empty:
        arguments = ["pip", "install", "--dry-run", "--require-hashes", "--no-deps"]
        arguments += ["--only-binary", ":all:", "--python-platform", target]
        arguments += ["--python-version", python, "--target", empty, "-r", str(lock.file)]
        try:
            run_uv(arguments, Path(empty), log, "cannot be installed")
        except EnvError as error:
            return error.log_tail or str(error)
    return None
