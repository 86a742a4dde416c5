"""The torch of one env: exact versions with hashes, all from one index and no other.

What the stack's lock holds is in the env by now and is left out of the resolution, so whatever
else torch needs has to be on its own index: a package that this index happens to lack is an
error, and never the one of that name on another index or in a folder.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from orchestrator.environments.lock import Lock
from orchestrator.environments.sources import uv_environment
from orchestrator.environments.torch_builds import TorchBuild, is_left_out
from orchestrator.environments.uv import run_uv
from orchestrator.errors import EnvError
from orchestrator.stacks import Stack

LOCK_FILE = "torch.lock"
_PLATFORM_TAGS = {"linux": ("manylinux", "linux", "musllinux"), "win32": ("win",)}


def lock_torch(
    stack: Stack,
    lock: Lock,
    installed: Iterable[str],
    folder: Path,
    log: Path,
    words: Sequence[str],
) -> Path:
    """Resolve the stack's torch into a file in folder. Raises EnvError with the resolver's words.

    installed: packages that are in the env. words: uv's for the interpreter and the sources.
    """
    build = lock.torch_build
    assert build is not None
    what = f"torch of stack {stack.name!r} for {build.accelerator}"
    missing = sorted(set(lock.torch) - set(build.versions))
    if missing:
        raise EnvError(f"{what}: accelerators.toml has no {', '.join(missing)} for it")
    asked = [*build.requirements(lock.torch), *_of_stack(stack, build)]
    (folder / "torch.in").write_text("\n".join(asked) + "\n", encoding="utf-8")
    # torch has its own triton for each accelerator, in the place of one that others need
    fixed = [name for name in map(canonicalize_name, installed) if not is_left_out(name)]
    (folder / "locked.txt").write_text("\n".join(sorted(fixed)) + "\n", encoding="utf-8")
    arguments = ["pip", "compile", "torch.in", "--excludes", "locked.txt", "--generate-hashes"]
    arguments += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    arguments += ["--output-file", LOCK_FILE, *words]
    failed = f"{what} cannot be resolved"
    run_uv(arguments, folder, log, failed, build.build_environment, alone=build.index is not None)
    file = folder / LOCK_FILE
    # === refuses 2.14.0+rocm where 2.14.0 was locked
    exact = re.sub(r"^(\S+?)==", r"\1===", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    file.write_text(exact, encoding="utf-8")
    return file


def torch_sources(
    build: TorchBuild,
    names: Iterable[str],
    minor: int,
    system: str = sys.platform,
    machine: str | None = None,
) -> list[str]:
    """uv's words for the index of these members of the family, and for no other place.

    Where folders of --find-links have all of them for Python 3.minor, these are the place.
    machine: None for this one's.
    """
    machines = (machine or platform.machine().lower(), "universal2")
    if build.index is None:
        return []
    wanted = {(name, Version(build.versions[name])) for name in names}
    folders = _find_links()
    if wanted <= {one for folder in folders for one in _wheels(folder, minor, system, machines)}:
        links = [word for folder in folders for word in ("--find-links", str(folder))]
        return ["--no-config", "--no-index", *links]
    return ["--no-config", "--default-index", build.index]


def _of_stack(stack: Stack, build: TorchBuild) -> list[str]:
    """What the stack itself asks of the family: a range that the table's version has to be in."""
    asked = map(Requirement, stack.requirements(build.accelerator))
    found = [one for one in asked if canonicalize_name(one.name) in build.versions]
    for one in found:
        if one.url:
            raise EnvError(
                f"stack {stack.name!r} names an address for {one.name}; accelerators.toml says "
                "where that comes from"
            )
    return [str(one) for one in found]


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


def _wheels(
    folder: Path, minor: int, system: str, machines: tuple[str, ...]
) -> Iterable[tuple[str, Version]]:
    """Name and version of those that such a Python on such a system can use."""
    for file in folder.glob("*.whl"):
        try:
            name, version, _, tags = parse_wheel_filename(file.name)
        except InvalidWheelFilename:
            continue
        if any(
            tag.interpreter in (f"cp3{minor}", f"py3{minor}", "py3")
            and (
                tag.platform == "any"
                or (
                    tag.platform.startswith(_PLATFORM_TAGS.get(system, ("macosx",)))
                    and tag.platform.endswith(machines)
                )
            )
            for tag in tags
        ):
            yield str(name), version
