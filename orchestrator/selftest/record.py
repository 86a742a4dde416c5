"""What a self-test found, kept on this machine for the runs that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import orchestrator
from orchestrator import paths
from orchestrator.errors import RunFolderError
from orchestrator.files import write_whole
from orchestrator.machine import counters_identity
from schemas.records import Bound, Outcome

# "not seen": off, and the counters in use cannot see it; "wrong": off, though they should
Verdict = Literal["seen", "not seen", "wrong", "not run"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Reading(_Part):
    """What one counter said. error: of the truth, 0.01 is 1 % too much."""

    counter: str
    said_bytes: int
    error: float


class Reported(_Part):
    """A peak as a run would publish it."""

    peak_bytes: int
    error: float
    method: str
    bound: Bound


class FootprintFound(_Part):
    """One footprint: the truth, what was reported, what each counter said."""

    name: str
    what: str
    verdict: Verdict
    why: str = ""
    truth_bytes: int | None = None
    baseline_bytes: int | None = None
    reported: Reported | None = None  # of the whole worker: decides, with that of the attempt
    reported_for_attempt: Reported | None = None
    counters: tuple[Reading, ...] = ()


class DeathFound(_Part):
    """One death: what it should be called, and what was said of it."""

    name: str
    what: str
    right: bool
    why: str = ""
    expected: Outcome
    outcome: Outcome
    said: str


class SelfTest(_Part):
    """A whole self-test."""

    at: str
    asrbench: str
    machine: list[Any]  # with its kernel and the counter that serves
    size_bytes: int
    tolerance: float
    footprints: tuple[FootprintFound, ...]
    deaths: tuple[DeathFound, ...]

    @property
    def wrong(self) -> list[str]:
        """Names of the probes that a counter should have seen, or a death that was misread."""
        return [one.name for one in self.footprints if one.verdict == "wrong"] + [
            one.name for one in self.deaths if not one.right
        ]

    def summary(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "at": self.at,
            "ok": not self.wrong,
            "size_bytes": self.size_bytes,
            "footprints": {
                one.name: {
                    "verdict": one.verdict,
                    "error": one.reported.error if one.reported else None,
                    "why": one.why,
                }
                for one in self.footprints
            },
            "deaths": {one.name: one.outcome if one.right else one.why for one in self.deaths},
        }


def record_file() -> Path:
    """Where the last self-test is kept."""
    return paths.cache_home() / "selftest.json"


def keep(found: SelfTest) -> None:
    """Replace the last one. Raises RunFolderError if it cannot be written."""
    file = record_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, found.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise RunFolderError(f"cannot write {file}: {error.strerror}; set ASRBENCH_HOME") from error


def last_on_this_machine() -> SelfTest | None:
    """The last self-test, if this version made it with this machine's present counters."""
    try:
        found = SelfTest.model_validate_json(record_file().read_bytes())
    except (OSError, ValidationError):
        return None
    here = found.machine == counters_identity() and found.asrbench == orchestrator.__version__
    return found if here else None


def standing() -> tuple[dict[str, Any] | None, str | None]:
    """For a run: what its run.json keeps, and a line for a person where there is something to say.

    None and a hint if this version never tested this machine.
    """
    found = last_on_this_machine()
    if found is None:
        return None, "nobody has tested this machine's counters yet: asrbench selftest"
    if found.wrong:
        return found.summary(), (
            f"the self-test of {found.at[:10]} found wrong: {', '.join(found.wrong)}; "
            "see: asrbench selftest"
        )
    return found.summary(), None
