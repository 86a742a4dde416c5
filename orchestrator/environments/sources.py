"""Where packages come from: uv's variables, pip's where uv's are not set, and nothing secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from orchestrator import paths

# what would make uv look at, or link to, another place than the one it is told, or make an env
# that is not what its lock says
_LEAKS = (
    "VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME UV_PYTHON UV_SYSTEM_PYTHON "
    "UV_BREAK_SYSTEM_PACKAGES UV_PROJECT UV_PROJECT_ENVIRONMENT UV_WORKING_DIRECTORY "
    "UV_OVERRIDE UV_CONSTRAINT UV_BUILD_CONSTRAINT UV_EXCLUDE UV_NO_VERIFY_HASHES "
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
# all that uv may know of ours where but one package index counts: how to reach it, and its cache
_ALONE = frozenset(
    "UV_CACHE_DIR UV_NO_CACHE UV_OFFLINE UV_HTTP_TIMEOUT UV_HTTP_RETRIES UV_REQUEST_TIMEOUT "
    "UV_NATIVE_TLS UV_SYSTEM_CERTS UV_KEYRING_PROVIDER UV_PYTHON_DOWNLOADS "
    "UV_CONCURRENT_DOWNLOADS UV_CONCURRENT_BUILDS UV_CONCURRENT_INSTALLS".split()
)
_INDEXES = (
    "UV_DEFAULT_INDEX UV_INDEX_URL UV_INDEX UV_EXTRA_INDEX_URL PIP_INDEX_URL PIP_EXTRA_INDEX_URL"
).split()
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PIP_PROXY")
_LINKS = ("UV_FIND_LINKS", "PIP_FIND_LINKS")
_FOLDERS = ("UV_CACHE_DIR", "UV_CONFIG_FILE")
_TOLD = (
    "UV_DEFAULT_INDEX UV_INDEX_URL UV_INDEX UV_EXTRA_INDEX_URL UV_INDEX_STRATEGY UV_FIND_LINKS "
    "UV_NO_INDEX UV_OFFLINE UV_CONFIG_FILE HTTP_PROXY HTTPS_PROXY ALL_PROXY"
).split()
_NAMED = re.compile(r"([A-Za-z0-9._-]+)=(.+)")
_USER = re.compile(r"(?<=://)[^/\s]*@")
_USER_WITHOUT_SCHEME = re.compile(r"(?<![\w/.])[^\s/:@=]{1,99}:[^\s/@]{1,999}@(?=[\w.-]+)")
_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s\"'`<>]+")
_QUERY = re.compile(r"(://[^\s?#]*)\?[^\s#]*")


def uv_environment(alone: bool = False, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that uv runs with. alone: none that could name another package index."""
    environment = {key: value for key, value in environ.items() if key not in _LEAKS}
    for pip, names in _FROM_PIP.items():
        value = environ.get(pip)
        if value and not any(environ.get(name) for name in names):
            # pip's list has spaces in it where uv's has commas
            environment[names[0]] = ",".join(value.split()) if "LINKS" in pip else value
    if alone:
        environment = {
            key: value
            for key, value in environment.items()
            if not key.upper().startswith(("UV_", "PIP_")) or key.upper() in _ALONE
        }
    environment.setdefault("UV_CACHE_DIR", str(paths.cache_home() / "uv"))
    environment.setdefault("UV_HTTP_TIMEOUT", "300")
    for name in _FOLDERS:  # uv runs in another folder than we do
        if environment.get(name):
            environment[name] = str(Path(environment[name]).absolute())
    if environment.get("UV_FIND_LINKS"):
        links = environment["UV_FIND_LINKS"].split(",")
        environment["UV_FIND_LINKS"] = ",".join(map(_absolute, filter(None, links)))
    return environment | {"UV_NO_PROGRESS": "1", "NO_COLOR": "1", "UV_LOCK_TIMEOUT": "3600"}


def package_sources(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What of it says where packages come from, for a record: hosts and folders, nothing more."""
    environment = uv_environment(environ=environ)
    given = {name: environment.get(name) or environment.get(name.lower(), "") for name in _TOLD}
    return {
        name: " ".join(map(_place, value.split("," if "LINKS" in name else None)))
        for name, value in given.items()
        if value
    }


def named_index(value: str) -> tuple[str, str]:
    """Name and address of an index as uv's variables have it; the name is often "".

    https://host/simple, or name=https://host/simple.
    """
    named = _NAMED.fullmatch(value)
    return (named[1], named[2]) if named else ("", value)


def without_secrets(text: str) -> str:
    """The text without what may be secret in its URLs.

    That is user, password and query of each, and each part of a path that is in the path of one of
    ours, as it may be a token, wherever it comes again; but for "simple", which most have.
    """
    secret: set[str] = set()
    for url in sorted(_own_urls(), key=len, reverse=True):
        parts = _split(url)
        if parts is None:
            text = text.replace(url, "***")
        else:
            secret |= {*parts.path.split("/"), *unquote(parts.path).split("/")}
    secret -= {"", "simple"}
    text = _QUERY.sub(r"\1?***", _USER.sub("***@", text))
    if secret:
        part = re.compile(rf"(?<=[^:/]/)(?:{'|'.join(map(re.escape, secret))})(?![\w%~-])")
        text = _URL.sub(lambda url: part.sub("***", url[0]), text)
    return _USER_WITHOUT_SCHEME.sub("***@", text)


def _own_urls() -> Iterator[str]:
    """Of indexes, links and proxies, as the user gave them."""
    for name in (*_INDEXES, *_LINKS, *_PROXIES, *map(str.lower, _PROXIES)):
        for value in re.split(r"[,\s]+" if name in _LINKS else r"\s+", os.environ.get(name, "")):
            url = named_index(value)[1]
            if "://" in url and not url.startswith("file:"):
                yield url


def _split(url: str) -> SplitResult | None:
    """None if it is no good URL, or one whose password would be taken for something else."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts if parts.netloc and ("@" in parts.netloc or "@" not in url) else None


def _absolute(link: str) -> str:
    return link if "://" in link else str(Path(link).absolute())


def _place(value: str) -> str:
    """Scheme, host and port of a URL; tokens may be in any other part of it."""
    name, url = named_index(value)
    if url.startswith("file:"):
        return value
    if "://" not in url:  # a folder, or a proxy
        return f"***@{url.rpartition('@')[2]}" if "@" in url else value
    parts = _split(url)
    if parts is None:
        return "***"
    host = parts.netloc.rpartition("@")[2]
    return f"{name}={parts.scheme}://{host}" if name else f"{parts.scheme}://{host}"
