"""Attempts of a batch, filled from what came back of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.audio.decode import DecodedFacts
from orchestrator.errors import AudioError
from orchestrator.supervisor.transcription import Transcribed
from schemas.messages import SAMPLE_RATE_HZ
from schemas.records import Attempt, Batch


def undecoded(attempt: Attempt, error: AudioError) -> Attempt:
    """The recording is broken: the worker has heard nothing."""
    return attempt.model_copy(update={"outcome": "failed", "phase": "decode", "error": str(error)})


def batch_of(results: Sequence[Transcribed | AudioError], facts: Sequence[DecodedFacts]) -> Batch:
    """Of those that could be decoded."""
    pairs = zip(results, facts, strict=True)
    decoded = [(one, fact.samples) for one, fact in pairs if isinstance(one, Transcribed)]
    return Batch(
        size=len(decoded),
        audio_s=sum(samples for _, samples in decoded) / SAMPLE_RATE_HZ,
        time_s=max((one.time_s for one, _ in decoded), default=0.0),
        infer_s=max((one.infer_s for one, _ in decoded), default=0.0),
    )


def of_batch(
    attempt: Attempt,
    result: Transcribed,
    batch: Batch,
    samples: int,
    measured: dict[str, Any],
    notes: tuple[str, ...],
) -> Attempt:
    """Time and energy are shared by length, so that a batch's rows add up to it."""
    audio_s = samples / SAMPLE_RATE_HZ
    part = audio_s / batch.audio_s
    update: dict[str, Any] = {
        "text": result.text,
        "time_s": batch.time_s * part,
        "infer_s": batch.infer_s * part,
        "audio_s": audio_s,
        "batch": batch,
        "details": result.details,
        "energy": tuple(
            one.model_copy(update={"joules": one.joules * part}) for one in measured["energy"]
        ),
        "notes": notes + measured["notes"],
    }
    return attempt.model_copy(update=measured | update)
