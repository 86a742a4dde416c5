"""Whether the packages of an env have what they ask for, but for what their stack leaves out."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.utils import canonicalize_name

from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError
from orchestrator.platforms import venv_python
from orchestrator.stacks import Stack

# uv's words: The package `a` requires `b>=1 ; marker`, but it's not installed
_MISSING = re.compile(
    r"^The package `[^`]+` requires `([A-Za-z0-9._-]+)[^`]*`, but it's not installed$", re.MULTILINE
)
_COUNT = re.compile(r"^Found (\d+) incompatibilit", re.MULTILINE)


def check_requirements(stack: Stack, accelerator: str, folder: Path, log: Path) -> None:
    """Ask uv. Raises EnvError with its words if anything is missing that was not left out."""
    try:
        run_uv(
            ["pip", "check", "--python", str(venv_python(folder))],
            folder,
            log,
            f"packages in the env of stack {stack.name!r} contradict each other",
        )
    except EnvError as error:
        if not _all_meant(error.log_tail or "", stack.without.get(accelerator, ())):
            raise


def _all_meant(said: str, without: tuple[str, ...]) -> bool:
    """Whether each of the contradictions is a package that is meant to be missing."""
    missing = [name for name in _MISSING.findall(said) if canonicalize_name(name) in without]
    count = _COUNT.search(said)
    return count is not None and int(count[1]) == len(missing)
