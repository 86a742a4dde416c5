"""Where things are: what ships with asrbench, and what it keeps on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
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
    return _data_home() / "envs"


def checkpoint_record() -> Path:
    """The file that says which checkpoints were fetched and verified."""
    return _data_home() / "checkpoints.lock.json"


def cache_home() -> Path:
    """The folder for what can be fetched again."""
    home = _asrbench_home()
    return home / "cache" if home else _default_home(platformdirs.user_cache_dir)


def check_homes() -> None:
    """Raises UsageError if envs or caches are where no record could name them."""
    envs_home()
    cache_home()


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


def _data_home() -> Path:
    return _asrbench_home() or _default_home(platformdirs.user_data_dir)


def _asrbench_home() -> Path | None:
    home = os.environ.get("ASRBENCH_HOME")
    if not home:
        return None
    require_utf8("ASRBENCH_HOME", Path(home))
    return Path(home).absolute()


def _default_home(user_dir: Callable[..., str]) -> Path:
    home = Path(user_dir("asrbench", appauthor=False)).absolute()
    require_utf8("the default of ASRBENCH_HOME,", home)
    return home
