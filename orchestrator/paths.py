"""Where things are: what ships with asrbench, and what it keeps on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from orchestrator.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent
# a wheel carries envs and snippets inside the package; a checkout has them at its top
_BUNDLED = _PACKAGE / "bundled" if (_PACKAGE / "bundled").is_dir() else _PACKAGE.parent

SHIPPED_STACKS = _BUNDLED / "envs"
SHIPPED_SNIPPETS = _BUNDLED / "snippets"
PROBE_STACK = _PACKAGE / "selftest" / "probe"  # of no model, so not among the shipped ones
WORKERS = _PACKAGE.parent / "workers"
HOST = WORKERS / "host.py"
SECLUSION = WORKERS / "seclusion.py"
# what stands between a model and its audio
HOST_FILES = (HOST, WORKERS / "contract.py", WORKERS / "audio_buffer.py")


def envs_home() -> Path:
    """The folder that holds built envs."""
    home = os.environ.get("ASRBENCH_HOME")
    root = Path(home) if home else Path(platformdirs.user_data_dir("asrbench", appauthor=False))
    return root.absolute() / "envs"


def cache_home() -> Path:
    """The folder for what can be fetched again."""
    home = os.environ.get("ASRBENCH_HOME")
    if home:
        return Path(home).absolute() / "cache"
    return Path(platformdirs.user_cache_dir("asrbench", appauthor=False)).absolute()


def require_utf8(option: str, path: Path) -> None:
    """Raises UsageError for a path that no journal and no JSON could name."""
    whole = str(path.absolute())
    try:
        whole.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{option} {whole}: this path is not UTF-8, as a run's records are; rename it, or "
            "choose another"
        ) from error
