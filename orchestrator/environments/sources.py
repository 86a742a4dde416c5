"""Where packages come from: uv's variables, pip's where uv's are not set, and nothing secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from orchestrator import paths

# what would make uv look at, or link to, another place than the one it is told
_LEAKS = (
    "VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME UV_PYTHON UV_SYSTEM_PYTHON "
    "UV_BREAK_SYSTEM_PACKAGES UV_PROJECT UV_PROJECT_ENVIRONMENT UV_WORKING_DIRECTORY "
    "UV_LINK_MODE "  # links into a cache would make the env a part of it
    "UV_TORCH_BACKEND"  # envs/accelerators.toml says which torch
).split()
# pip's name → uv's, and uv's older name for the same
_FROM_PIP = {
    "PIP_INDEX_URL": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "PIP_EXTRA_INDEX_URL": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "PIP_FIND_LINKS": ("UV_FIND_LINKS",),
    "PIP_NO_INDEX": ("UV_NO_INDEX",),
    "PIP_CERT": ("SSL_CERT_FILE",),
    "PIP_PROXY": ("ALL_PROXY", "HTTPS_PROXY"),
}
_INDEXES = "UV_DEFAULT_INDEX UV_INDEX_URL UV_INDEX UV_EXTRA_INDEX_URL UV_INDEX_STRATEGY".split()
_TOLD = (
    *_INDEXES,
    *"UV_FIND_LINKS UV_NO_INDEX UV_OFFLINE UV_CONFIG_FILE HTTP_PROXY HTTPS_PROXY ALL_PROXY".split(),
)
_USER = re.compile(r"(?<=://)[^/\s@]*@")
_QUERY = re.compile(r"(://[^\s?#]*)\?[^\s#]*")


def uv_environment(alone: bool = False, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that uv runs with. alone: without those that name a package index."""
    environment = {key: value for key, value in environ.items() if key not in _LEAKS}
    for pip, names in _FROM_PIP.items():
        value = environ.get(pip)
        if value and not any(environ.get(name) for name in names):
            # pip's list has spaces in it where uv's has commas
            environment[names[0]] = ",".join(value.split()) if "LINKS" in pip else value
    if alone:
        for name in _INDEXES:
            environment.pop(name, None)
    environment.setdefault("UV_CACHE_DIR", str(paths.cache_home() / "uv"))
    environment.setdefault("UV_HTTP_TIMEOUT", "300")
    return environment | {"UV_NO_PROGRESS": "1", "NO_COLOR": "1", "UV_LOCK_TIMEOUT": "3600"}


def package_sources(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What of it says where packages come from, for a record: without user names and tokens."""
    environment = uv_environment(environ=environ)
    given = {name: environment.get(name) or environment.get(name.lower(), "") for name in _TOLD}
    return {name: without_secrets(value) for name, value in given.items() if value}


def without_secrets(text: str) -> str:
    """The text with users, passwords and queries of its URLs taken out."""
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text))
