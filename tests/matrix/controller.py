"""asrbench in a world that is a little different, and what it holds when it is done.

    python controller.py FOLDER WORLD,… orchestrate …

Writes FOLDER/held.json: file descriptors and threads that were not there before.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

import psutil


def descriptors() -> dict[str, str]:
    """Open ones, and what they are."""
    found = {}
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that we look with
            found[fd.name] = str(fd.readlink())
    return found


def no_cgroup() -> None:
    """As for most users."""
    from orchestrator.platforms import cgroups

    cgroups.make_cgroup = lambda *arguments, **keywords: None


def slow_disk() -> None:
    """So slow that what a worker does after its reply is over before the next request.

    It has armed something as long as the file "armed" is there, which holds its process id.
    """
    fsync, armed = os.fsync, Path(sys.argv[1], "armed")

    def slow(fd: int) -> None:
        limit = time.monotonic() + 60
        was_armed = armed.exists()
        while time.monotonic() < limit and armed.exists() and _runs(armed):
            time.sleep(0.02)
        armed.unlink(missing_ok=True)
        time.sleep(0.3 if was_armed else 0.05)
        fsync(fd)

    os.fsync = slow


def _runs(file: Path) -> bool:
    try:
        return psutil.Process(int(file.read_text("ascii"))).status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError, ValueError):
        return False


def short_waits() -> None:
    """For what is surely not coming any more."""
    from orchestrator.supervisor import channel

    channel.EXIT_AFTER_EOF_S = 1.0


def short_limits() -> None:
    """Those that have no option."""
    from orchestrator.environments import build
    from orchestrator.supervisor import worker

    build.PROOF_TIMEOUT_S = 4.0
    worker.STOP_S = 2.0


def wild_clock() -> None:
    """The time of day jumps an hour back, two forth, at every look."""
    import datetime

    real, looks = time.time, iter(range(1_000_000))
    time.time = lambda: real() + (-3600 if next(looks) % 2 else 7200)

    class Wild(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return cls.fromtimestamp(time.time(), tz)

    datetime.datetime = Wild


WORLDS = {
    "cgroup": lambda: None,
    "no-cgroup": no_cgroup,
    "slow-disk": slow_disk,
    "short-waits": short_waits,
    "short-limits": short_limits,
    "wild-clock": wild_clock,
}


def main() -> None:
    """See above."""
    folder, worlds, *arguments = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))  # as where people debug
    for world in filter(None, worlds.split(",")):
        WORLDS[world]()
    from orchestrator import cli

    sys.argv = ["asrbench", *arguments]
    before = descriptors()
    try:
        cli.main()
    finally:
        left = {fd: what for fd, what in descriptors().items() if before.get(fd) != what}
        threads = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
        held = json.dumps({"descriptors": left, "threads": threads})
        Path(folder, "held.json").write_text(held, encoding="utf-8")


if __name__ == "__main__":
    main()
