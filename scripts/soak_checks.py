"""What a disturbed run must not do: leave processes or files, or let the controller grow."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

MARK = b"ASRBENCH_TREE="
END_S = 10.0  # for guardians, which do their work after a controller's death
MIN_LOOKS = 30  # at a controller, for its growth to be told
MAX_GROWTH_MB = 3.0
MAX_GROWTH_DESCRIPTORS = 1.0  # ten workers die in a life: a leak at each of them is more


class Failed(Exception):  # noqa: N818
    """What must not happen did."""


def use_of(pid: int) -> Iterator[tuple[float, float]]:
    """The controller's memory in MB and file descriptors now; nothing if it is gone."""
    with contextlib.suppress(psutil.Error, OSError):
        yield (
            psutil.Process(pid).memory_info().rss / 1e6,
            len(list(Path(f"/proc/{pid}/fd").iterdir())),
        )


def growth(looks: list[tuple[float, float]]) -> tuple[float, float]:
    """From the middle third of a life to the last: in the first one it is still being set up."""
    third = len(looks) // 3
    middle, last = (
        [statistics.median(column) for column in zip(*part, strict=True)]
        for part in (looks[third : 2 * third], looks[2 * third :])
    )
    return last[0] - middle[0], last[1] - middle[1]


def expect_no_orphans(controller: int) -> None:
    """Everything that carries a mark of this controller must end by itself."""
    limit = time.monotonic() + END_S
    while left := list(marked(controller)):
        if time.monotonic() > limit:
            raise Failed(f"processes outlived their controller {controller}: {left}")
        time.sleep(0.02)


def marked(controller: int) -> Iterator[int]:
    """Living processes of this controller's trees, and its guardian."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            owner = f"-{controller}-".encode()
            if any(x.startswith(MARK) and owner in x for x in variables) or (
                b"guardian.py" in command and owner in command
            ):
                yield int(folder.name)


def expect_no_files(folder: Path, controllers: list[int]) -> None:
    """None of theirs may be left in the folder of the soak, nor a cgroup."""
    limit = time.monotonic() + END_S
    while left := sorted(map(str, files_left(folder, controllers))):
        if time.monotonic() > limit:
            raise Failed(f"files were left: {left}")
        time.sleep(0.02)


def files_left(folder: Path, controllers: list[int]) -> Iterator[Path]:
    """Temporary files and locks, and these controllers' cgroups."""
    yield from (folder / "tmp").iterdir()
    yield from (folder / "home" / "envs").glob("**/*.use-*")
    yield from (folder / "home" / "envs").glob(".new-*")
    for cgroup in Path("/sys/fs/cgroup").glob("**/asrbench-[0-9]*-[0-9]*-*"):
        if int(cgroup.name.split("-")[2]) in controllers:
            yield cgroup


def check_hits(worker_signals: int, controller_deaths: int) -> None:
    """Raises Failed if nobody was disturbed."""
    if not worker_signals or not controller_deaths:
        raise Failed("no signal hit a worker, or none a controller: soak for longer")


def check_flat(growths: list[tuple[float, float]]) -> None:
    """Raises Failed if half of the controllers grew."""
    if not growths:
        raise Failed(f"no controller lived for {MIN_LOOKS} looks")
    memory_mb, descriptors = (statistics.median(column) for column in zip(*growths, strict=True))
    print(
        f"{len(growths)} controllers lived long enough: in the last third of their lives "
        f"{memory_mb:+.1f} MB, {descriptors:+g} descriptors (medians)"
    )
    if memory_mb > MAX_GROWTH_MB or descriptors > MAX_GROWTH_DESCRIPTORS:
        raise Failed("the controller grew")
