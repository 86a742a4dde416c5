"""What a person sees while a run goes on. A view only looks: it never changes the run."""

from __future__ import annotations

from typing import Protocol

from schemas.records import Attempt, ModelFailed


class View(Protocol):
    """Told of everything that happens, from the main thread."""

    def begin(self, models: list[str], snippets: int, audio_s: float) -> None:
        """A run of that many snippets (audio_s in all) for each model begins."""
        ...

    def model_begins(self, model: str, pending: int, pending_audio_s: float) -> None:
        """A model's turn: so much is to be done, the rest is done already."""
        ...

    def stage(self, model: str, stage: str) -> None:
        """What is being done for the model now."""
        ...

    def partial(self, model: str, snippet: str, text: str) -> None:
        """The text so far of the snippet that is being transcribed."""
        ...

    def attempt(self, attempt: Attempt) -> None:
        """An attempt ended."""
        ...

    def model_ends(self, model: str, failure: ModelFailed | None) -> None:
        """The model's turn is over."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing that belongs to no attempt."""
        ...

    def close(self) -> None:
        """The run is over; leave the screen as it is."""
        ...
