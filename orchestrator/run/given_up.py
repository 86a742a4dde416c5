"""Why a model's remaining snippets are not tried; and accelerators that nobody may use any more."""

from __future__ import annotations

from orchestrator.run.recorder import Recorder
from schemas.records import Crash, Outcome, Phase


class GivenUp(Exception):  # noqa: N818 a result
    """The model's remaining snippets are not tried."""

    def __init__(
        self, outcome: Outcome, phase: Phase, error: str, crash: Crash | None = None
    ) -> None:
        self.outcome: Outcome = outcome
        self.phase: Phase = phase
        self.error = error
        self.crash = crash
        super().__init__(error)


def quarantine(left: str | None, accelerator: str, model: str, recorder: Recorder) -> None:
    """What cannot be killed hangs in a driver: nobody else is to follow it there.

    left: what close() of the model's worker said; None if nothing is left.
    """
    if left:
        recorder.view.note(f"{model}: {left}")
        if accelerator != "cpu":
            recorder.quarantine[accelerator] = f"{model}: {left}"


def refuse_quarantined(accelerator: str, recorder: Recorder) -> None:
    """Raises GivenUp if a worker hangs in this accelerator's driver."""
    why = recorder.quarantine.get(accelerator)
    if why:
        raise GivenUp(
            "failed",
            "spawn",
            f"{accelerator} is not used any more in this run: {why}; restart the machine, "
            "then go on with --resume",
        )
