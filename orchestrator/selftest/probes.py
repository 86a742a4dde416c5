"""What is probed. Each act is a function of workers/probe.py."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from schemas.records import Outcome

# sampling looks every 0.25 s at most where it takes part, and less often at trees, as it costs more
HOLD_S = 1.0
HOLD_TREE_S = 2.0


@dataclass(frozen=True)
class Footprint:
    """Memory of a known size."""

    name: str
    what: str
    act: str
    hold_s: float = HOLD_S
    cache: Literal["cold", "warm"] | None = None  # of its file; None: it reads no file
    brief: bool = False  # held for 20 ms, whatever hold_s says
    shared: bool = False  # by several processes

    def cannot_run(self) -> str | None:
        """What this system lacks for it."""
        if self.shared and not hasattr(os, "fork"):
            return "this system has no fork"
        if self.cache == "cold" and not hasattr(os, "posix_fadvise"):
            return "this system has no call that drops a file from its cache"
        return None


@dataclass(frozen=True)
class Death:
    """A way to end, or to misbehave, and what a run must say of it."""

    name: str
    what: str
    act: str
    outcome: Outcome
    limited: bool = False  # with a memory limit
    timeout_s: float = 60.0


FOOTPRINTS = (
    Footprint("anonymous", "anonymous memory", "anonymous"),
    Footprint("mapped-cold", "a mapped file, read from disk", "mapped", cache="cold"),
    Footprint("mapped-warm", "a mapped file, cached before", "mapped", cache="warm"),
    Footprint("read-cold", "a file read into memory, from disk", "read", cache="cold"),
    Footprint("read-warm", "a file read into memory, cached before", "read", cache="warm"),
    Footprint("two-children", "half in each of two children", "two_children", HOLD_TREE_S),
    Footprint("spike", "in a child, for 20 ms", "spike", HOLD_TREE_S, brief=True),
    Footprint("forks", "shared with four forks", "forks", HOLD_TREE_S, shared=True),
    Footprint(
        "file-beside-memory",
        "half a cached file in one child, half memory in another",
        "beside",
        HOLD_TREE_S,
        cache="warm",
    ),
)

DEATHS = (
    Death("segfault", "reads address 0", "segfault", "crashed"),
    Death("abort", "calls abort()", "abort", "crashed"),
    Death("out-of-memory", "takes twice its limit", "over_limit", "out_of_memory", limited=True),
    Death("hang", "never answers", "hang", "timed_out", timeout_s=2.0),
    Death("stdout-noise", "prints from Python, C and a child", "noise", "ok"),
)
