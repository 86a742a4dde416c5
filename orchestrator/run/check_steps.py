"""What a check of one model finds, step by step."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from orchestrator.environments.choice import Asked
from schemas.messages import Details
from schemas.records import (
    Accelerator,
    CheckpointProof,
    DeviceMemory,
    LoadTimes,
    MemoryPeak,
    Outcome,
)

StepName = Literal["env", "checkpoint", "load", "speech", "device", "memory"]


@dataclass(frozen=True)
class EnvFound:
    """The env that the model runs in."""

    folder: Path
    accelerator: Accelerator
    target: str | None  # the GPU that its torch was built for
    python: str
    built_now: bool
    build_s: float
    not_used: dict[Accelerator, str]  # what the stack likes more, and what is in its way


@dataclass(frozen=True)
class CheckpointFound:
    """Where the model's files are, and what speaks for them."""

    path: Path | None
    proof: CheckpointProof | Literal["none needed"]
    verified_at: datetime.datetime | None = None


@dataclass(frozen=True)
class SpeechFound:
    """The model's text beside what was said; nobody judges it here."""

    text: str
    reference: str  # of the whole recording
    recording: str
    recording_s: float | None
    audio_s: float  # what the model heard of it
    time_s: float
    infer_s: float  # the worker's own clock
    rtfx: float | None  # None: it took no time that a clock could see


@dataclass(frozen=True)
class DeviceFound:
    """What the worker read back when its model was loaded."""

    device: str
    details: Details


@dataclass(frozen=True)
class MemoryFound:
    """Peaks of the worker's process tree; None where nothing on this system counts them."""

    peak: MemoryPeak | None  # since its spawn
    load: MemoryPeak | None  # until its model was loaded
    device: tuple[DeviceMemory, ...] = ()


Found = EnvFound | CheckpointFound | LoadTimes | SpeechFound | DeviceFound | MemoryFound


@dataclass(frozen=True)
class Trouble:
    """Why a step failed, in one line, and what to do next."""

    what: str
    next: str
    outcome: Outcome = "failed"
    whole: str | None = None  # all that was said, over several lines


@dataclass(frozen=True)
class Step:
    """One step: what it found, or what went wrong; neither, if it could not be tried."""

    name: StepName
    found: Found | None = None
    trouble: Trouble | None = None
    remarks: tuple[str, ...] = ()

    @property
    def state(self) -> Literal["ok", "failed", "not tried"]:
        """In a word."""
        if self.trouble:
            return "failed"
        return "ok" if self.found else "not tried"


@dataclass(frozen=True)
class Checked:
    """A check that is over."""

    model: str
    stack: str
    accelerator: Asked  # as it was asked for
    steps: tuple[Step, ...]
    log: Path | None  # what the worker printed; None if there was none

    @property
    def ok(self) -> bool:
        """Whether the model works here."""
        return all(step.state == "ok" for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        """For programs: steps by their name."""
        return {
            "ok": self.ok,
            "model": self.model,
            "stack": self.stack,
            "accelerator": self.accelerator,
            "log": None if self.log is None else str(self.log),
            "steps": {
                step.name: {
                    "state": step.state,
                    "found": _dump(step.found),
                    "trouble": _dump(step.trouble),
                    "remarks": list(step.remarks),
                }
                for step in self.steps
            },
        }


def _dump(value: Found | Trouble | None) -> Any:
    return None if value is None else TypeAdapter(type(value)).dump_python(value, mode="json")
