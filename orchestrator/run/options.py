"""What a run was asked for, kept in run.json so that --resume needs no other words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.environments.choice import Asked

DEFAULT_TIMEOUT_S = 60.0
DEFAULT_LOAD_TIMEOUT_S = 600.0
DEFAULT_MAX_CRASHES = 3
DEFAULT_RETRIES = 1
# an attempt may take this many times its audio's length on top of --timeout: far slower than any
# model that a person would use
TIMEOUT_PER_AUDIO = 10.0
MIN_MEMORY_LIMIT_BYTES = 16_000_000  # less does not hold an interpreter
ASSUMED_AUDIO_S = 600.0  # where the header does not say how long the audio is
MAX_BATCH = 256
BatchSize = Annotated[int, Field(ge=1, le=MAX_BATCH)] | Literal["auto"]


class RunOptions(BaseModel):
    """The options of one `orchestrate`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: tuple[str, ...] | None = None  # None: those whose checkpoint is on this machine
    snippets: Path
    stacks: tuple[Path, ...] = ()
    checkpoints: dict[str, Path] = {}
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, gt=0, allow_inf_nan=False)
    load_timeout_s: float = Field(default=DEFAULT_LOAD_TIMEOUT_S, gt=0, allow_inf_nan=False)
    max_crashes: int = Field(default=DEFAULT_MAX_CRASHES, ge=1)
    retries: int = Field(default=DEFAULT_RETRIES, ge=0)
    repeats: int = Field(default=1, ge=1)
    warm_up: bool = True
    batch: BatchSize = 1  # snippets at once, for workers that can
    accelerator: Asked = "auto"
    memory_limit_bytes: int | None = Field(default=None, ge=MIN_MEMORY_LIMIT_BYTES)

    def attempt_timeout_s(self, *audio_s: float | None) -> float:
        """Limit of one attempt on audio of this length, or of a batch of these lengths."""
        length_s = sum(ASSUMED_AUDIO_S if one is None else one for one in audio_s)
        return self.timeout_s + TIMEOUT_PER_AUDIO * length_s
