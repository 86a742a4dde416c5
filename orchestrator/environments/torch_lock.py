"""The torch of one env: exact versions with hashes, all from one index and no other.

What the stack's lock holds is in the env by now and is left out of the resolution, so whatever
else torch needs has to be on its own index: a package that this index happens to lack is an
error, and never the one of that name on another index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from orchestrator.environments.lock import Lock
from orchestrator.environments.sources import uv_environment
from orchestrator.environments.torch_builds import TorchBuild
from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError
from orchestrator.stacks import Stack

LOCK_FILE = "torch.lock"


def lock_torch(
    stack: Stack, lock: Lock, folder: Path, log: Path, where: Sequence[str]
) -> tuple[Path, list[str]]:
    """Resolve the stack's torch into a file in folder. Raises EnvError with the resolver's words.

    where: uv's words for the interpreter, or for another platform. Also returns the words that
    make uv look where the table says, for the installation.
    """
    build = lock.torch_build
    assert build is not None
    what = f"torch of stack {stack.name!r} for {build.accelerator}"
    missing = sorted(set(lock.torch) - set(build.versions))
    if missing:
        raise EnvError(f"{what}: accelerators.toml has no {', '.join(missing)} for it")
    asked = [*build.requirements(lock.torch), *_of_stack(stack, build)]
    (folder / "torch.in").write_text("\n".join(asked) + "\n", encoding="utf-8")
    (folder / "locked.txt").write_text("\n".join(lock.names) + "\n", encoding="utf-8")
    sources = torch_sources(build, lock.torch)
    arguments = ["pip", "compile", "torch.in", "--excludes", "locked.txt", "--generate-hashes"]
    arguments += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    arguments += ["--output-file", LOCK_FILE, *sources, *where]
    failed = f"{what} cannot be resolved"
    run_uv(arguments, folder, log, failed, build.build_environment, alone=build.index is not None)
    file = folder / LOCK_FILE
    exact = re.sub(r"^(\S+?)==", r"\1===", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    file.write_text(exact, encoding="utf-8")
    return file, sources


def torch_sources(build: TorchBuild, names: Iterable[str]) -> list[str]:
    """uv's words for the index of these members of the family, and for no other."""
    if build.index is None:
        return []
    if _all_in_find_links(build, names):  # a wheelhouse, or a machine without that index
        return ["--no-config", "--no-index"]
    return ["--no-config", "--default-index", build.index]


def _of_stack(stack: Stack, build: TorchBuild) -> list[str]:
    """What the stack itself asks of the family: a range that the table's version has to be in."""
    found = []
    for text in [*stack.dependencies, *stack.groups.get(build.accelerator, ())]:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise EnvError(f"{stack.folder / 'pyproject.toml'}: {error}") from error
        if canonicalize_name(requirement.name) in build.versions:
            found.append(text)
    return found


def _all_in_find_links(build: TorchBuild, names: Iterable[str]) -> bool:
    wanted = {(name, Version(build.versions[name])) for name in names}
    return wanted <= {one for folder in _find_links() for one in _wheels(folder)}


def _find_links() -> list[Path]:
    """Those that are folders of this machine."""
    found = []
    for text in uv_environment().get("UV_FIND_LINKS", "").split(","):
        url = urlsplit(text)
        is_url = len(url.scheme) > 1  # one letter is a disk of Windows
        path = Path(url2pathname(unquote(url.path)) if url.scheme == "file" else text)
        if text and (not is_url or url.scheme == "file") and path.is_dir():
            found.append(path)
    return found


def _wheels(folder: Path) -> Iterable[tuple[str, Version]]:
    for file in folder.glob("*.whl"):
        try:
            name, version, _, _ = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        yield str(name), version
