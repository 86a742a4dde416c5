"""The environment variables that a worker gets: a short list, so that nothing leaks in.

No PYTHON*, VIRTUAL_ENV or LD_LIBRARY_PATH, which would bring other packages; no tokens.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_KEPT = frozenset(
    # what programs need to run at all
    "PATH HOME USER LOGNAME LANG LC_ALL LC_CTYPE TZ "
    "SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT USERPROFILE APPDATA LOCALAPPDATA PROGRAMDATA "
    "PROGRAMFILES PROGRAMFILES(X86) PROGRAMW6432 NUMBER_OF_PROCESSORS PROCESSOR_ARCHITECTURE "
    # where checkpoints and caches are
    "HF_HOME HF_HUB_CACHE XDG_CACHE_HOME XDG_DATA_HOME".split()
)
# how many threads, which device, which kernels: what a person tunes a model with
_KEPT_PREFIXES = tuple(
    "OMP_ MKL_ OPENBLAS_ GGML_ WHISPER_ ORT_ CUDA_ NVIDIA_ HIP_ HSA_ ROCR_ MIOPEN_ AMD_ "
    "PYTORCH_ TORCH_ VK_ METAL_".split()
)
# parts of a name, between underscores, that may stand for a secret
_SECRETS = frozenset("AUTH COOKIE CREDS KEY KEYS PASS PASSPHRASE PAT PRIVATE PWD".split())
_JOINED_SECRETS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "APIKEY", "CREDENTIAL")
_URL_WITH_PASSWORD = re.compile(r"://[^/\s@]*:[^/\s@]*@")


def worker_environment(scratch: Path, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The kept variables, with every hub client offline: checkpoints are on disk before.

    scratch: where temporary files go. variables: of the env's accelerator; the user's win.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _KEPT and not _may_be_secret(name.upper(), value)
    }
    return (
        kept
        | tuning(variables or {})
        | {
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN_PATH": os.devnull,  # the token that `hf auth login` left in HF_HOME
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",  # bars in the log, and in the last lines of one that died
        }
    )


def tuning(variables: Mapping[str, str]) -> dict[str, str]:
    """What may change times and texts, for workers and for the record: the user's come first."""
    own = {
        name: value
        for name, value in os.environ.items()
        if name.upper().startswith(_KEPT_PREFIXES) and not _may_be_secret(name.upper(), value)
    }
    return dict(variables) | own


def _may_be_secret(name: str, value: str) -> bool:
    return (
        not _SECRETS.isdisjoint(name.split("_"))
        or any(secret in name for secret in _JOINED_SECRETS)
        or _URL_WITH_PASSWORD.search(value) is not None
    )
