"""A snippet on its way to a worker, and what is worth noting of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.audio.decode import DecodedFacts, Samples, decode
from orchestrator.errors import AudioError
from orchestrator.snippets.snippet import Snippet
from orchestrator.stacks import Model
from orchestrator.supervisor.transcription import Recording, Transcribed
from schemas.messages import SAMPLE_RATE_HZ, Scalar

CLOCK_SLACK_S = 0.5
CLOCK_SLACK = 0.1


def recording(snippet: Snippet, facts: DecodedFacts) -> Recording:
    """facts are filled while it is decoded."""
    samples_hint = round((snippet.duration_s or 0.0) * SAMPLE_RATE_HZ)
    return Recording(snippet.name, _blocks(snippet, facts), samples_hint)


def notes_on(
    snippet: Snippet, facts: DecodedFacts, model: Model, loaded: Mapping[str, Scalar]
) -> tuple[str, ...]:
    """What a reader of its row should know. loaded: what the worker told of its settings."""
    notes = []
    if not snippet.reference:
        notes.append("empty reference: no WER, inserted words count in the corpus WER")
    if facts.clipped_samples:
        notes.append(f"{facts.clipped_samples} samples over full scale were clipped")
    notes += language_notes(snippet.language, model.languages, loaded)
    return tuple(notes)


def language_notes(
    language: str, known: Sequence[str], loaded: Mapping[str, Scalar]
) -> tuple[str, ...]:
    """Why a recording's language may not suit a model. known: by it; empty if its stack is silent.

    loaded: what the worker told of its settings.
    """
    code, asked = _code(language), _code(str(loaded.get("option_language")))
    if known and code not in known:
        return (f"the model knows {', '.join(known)}, this is {language}",)
    # of others than two letters there are several names for one: eng, und, english, auto
    if len(code) == len(asked) == 2 and code != asked:
        return (f"the model was told to hear {asked}, this is {language}: see its options",)
    return ()


def _code(language: str) -> str:
    code = re.split("[-_]", language.lower())[0]
    return "no" if code in ("nb", "nn") else code


def clock_notes(result: Transcribed) -> tuple[str, ...]:
    """The two clocks tell apart a slow model and a machine that slept or a controller that did."""
    if result.time_s - result.infer_s <= max(CLOCK_SLACK_S, CLOCK_SLACK * result.infer_s):
        return ()
    return (
        f"the controller's clock says {result.time_s:.2f} s, the worker's {result.infer_s:.2f} s: "
        "was the machine asleep, or the controller stopped?",
    )


def _blocks(snippet: Snippet, facts: DecodedFacts) -> Iterator[Samples]:
    yield from decode(snippet.audio, facts, snippet.offset_s, snippet.segment_s)
    if facts.peak == 0.0 and snippet.reference:
        raise AudioError(
            f"{snippet.audio} is silent: every sample is zero, yet its reference has words; record "
            "it again, or empty the reference if silence is meant"
        )
