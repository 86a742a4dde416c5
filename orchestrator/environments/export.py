"""A folder of packages from which a stack's env is built on a machine without network.

What is fetched is what a built and proved env holds, by its locks. uv cannot download without
installing; pip can, for the interpreter that it is told, and checks the same hashes.
"""

from __future__ import annotations

import os
import sys
import tarfile
import tomllib
from pathlib import Path

from orchestrator import paths
from orchestrator.accelerators import Way
from orchestrator.environments.build import ensure_env, ensure_lock
from orchestrator.environments.causes import likely_cause
from orchestrator.environments.env import Env
from orchestrator.environments.lock import Lock
from orchestrator.environments.locks import Say
from orchestrator.environments.sources import named_index, uv_environment, without_secrets
from orchestrator.environments.torch_lock import LOCK_FILE, torch_sources
from orchestrator.errors import EnvError
from orchestrator.interruptions import run
from orchestrator.stacks import Stack

MAX_PYPROJECT_BYTES = 1 << 20
TAIL_LINES = 15
# uv's variable → pip's; not options, as other users can read a command line
_VARIABLES = {
    "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
    "UV_INDEX_URL": "PIP_INDEX_URL",
    "UV_INDEX": "PIP_EXTRA_INDEX_URL",
    "UV_EXTRA_INDEX_URL": "PIP_EXTRA_INDEX_URL",
}


def export(stack: Stack, way: Way, folder: Path, say: Say) -> list[Path]:
    """Fill the folder; what is there already stays. Returns the packages. Raises EnvError."""
    lock = ensure_lock(stack, way, say)
    if lock.from_git:
        names = ", ".join(line.partition(" ")[0] for line in lock.from_git)
        raise EnvError(
            f"stack {stack.name!r} takes {names} from git: no folder can stand in for that"
        )
    env = ensure_env(stack, way, say)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvError(f"cannot make {folder}: {error.strerror}") from error
    say(f"{stack.name}: fetching its packages into {folder}")
    locked = ["--no-deps", "--require-hashes", "--requirement"]
    sources: list[str] = []
    variables = _indexes()
    if lock.source_build:  # pip asks sources for their names, which may take the same variables
        sources = [w for package in lock.source_build.packages for w in ("--no-binary", package)]
        variables |= lock.source_build.environment
    _pip(env, folder, [*_find_links(), *sources, *locked, str(lock.file)], variables)
    if lock.torch:
        _fetch_torch(env, lock, folder, locked)
    for sdist in sorted(folder.glob("*.tar.gz")):  # also of a time before that was interrupted
        needs = _build_requirements(sdist)
        if needs:
            say(f"{stack.name}: {sdist.name} is built where it is installed: {', '.join(needs)}")
            _pip(env, folder, [*_find_links(), *needs], _indexes())
    return sorted(file for file in folder.iterdir() if file.suffix in (".whl", ".gz"))


def _fetch_torch(env: Env, lock: Lock, folder: Path, locked: list[str]) -> None:
    build = lock.torch_build
    assert build is not None
    options = [
        {"--default-index": "--index-url"}.get(word, word)
        for word in torch_sources(build, lock.torch, env.minor)
        if word != "--no-config"
    ]
    variables = dict(build.build_environment)
    if build.index is None:
        options, variables = _find_links(), variables | _indexes()
    else:
        variables["PIP_CONFIG_FILE"] = os.devnull  # it may name another index
    # what is built finds setuptools in the env, as when the env itself was built
    words = ["--no-build-isolation", *options, *locked, str(env.folder / LOCK_FILE)]
    _pip(env, folder, words, variables)


def _indexes() -> dict[str, str]:
    environment = uv_environment()
    found: dict[str, str] = {}
    for name, variable in _VARIABLES.items():
        values = [named_index(one)[1] for one in environment.get(name, "").split()]
        if values:  # uv's older name counts where the newer is not set
            found.setdefault(variable, " ".join(values))
    links = [one for one in environment.get("UV_FIND_LINKS", "").split(",") if "://" in one]
    return found | ({"PIP_FIND_LINKS": " ".join(links)} if links else {})


def _find_links() -> list[str]:
    links = [one for one in uv_environment().get("UV_FIND_LINKS", "").split(",") if one]
    folders = [link for link in links if "://" not in link]  # the others go by a variable
    closed = os.environ.get("UV_OFFLINE") or os.environ.get("UV_NO_INDEX")
    return [
        *(word for link in folders for word in ("--find-links", link)),
        *(["--no-index"] if closed else []),
    ]


def _pip(env: Env, folder: Path, words: list[str], variables: dict[str, str]) -> None:
    """Run pip download for the env's interpreter."""
    log = paths.envs_home() / "logs" / f"{env.stack}-export.log"
    command = [sys.executable, "-m", "pip", "--python", str(env.python), "download", *words]
    command += ["--dest", str(folder), "--disable-pip-version-check", "--no-input", "--quiet"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # asked for by variables of our own, or an index that torch must not see
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        kept.pop(name, None)
    kept |= {"PYTHONUTF8": "1", **variables}
    done = run(command, kept)
    said = without_secrets(f"{done.stdout}{done.stderr}")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {without_secrets(' '.join(command[1:]))}\n{said}")
    if done.returncode:
        cause = likely_cause(said)
        first = [f"likely cause: {cause}"] if cause else []
        raise EnvError(
            f"the packages of stack {env.stack!r} cannot be fetched (log: {log}):",
            "\n".join([*first, *said.strip().splitlines()[-TAIL_LINES:]]),
        )


def _build_requirements(sdist: Path) -> list[str]:
    """Of a source distribution, as its pyproject.toml names them; setuptools if it has none."""
    try:
        with tarfile.open(sdist) as archive:
            for member in archive:
                if member.name.count("/") == 1 and member.name.endswith("/pyproject.toml"):
                    file = archive.extractfile(member)
                    if file is None or member.size > MAX_PYPROJECT_BYTES:
                        break
                    parsed = tomllib.loads(file.read().decode("utf-8"))
                    needs = parsed.get("build-system", {}).get("requires", ["setuptools"])
                    return [one for one in needs if isinstance(one, str) and one[:1].isalnum()]
    except (tarfile.TarError, OSError, ValueError) as error:
        raise EnvError(f"{sdist} cannot be read: {error}") from error
    return ["setuptools"]
