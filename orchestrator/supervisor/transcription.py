"""Snippets on a worker whose model is loaded: one at a time, or several together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.audio.decode import Samples
from orchestrator.errors import AudioError
from orchestrator.supervisor.channel import Channel, WorkerFault
from orchestrator.supervisor.exchange import Answer, checked, expect
from orchestrator.supervisor.handover import hand_over
from schemas import messages


@dataclass(frozen=True)
class Recording:
    """What a worker is given of a snippet."""

    snippet: str
    blocks: Iterator[Samples]
    samples_hint: int


@dataclass(frozen=True)
class Transcribed:
    """A result with the controller's clock and the worker's own beside it.

    time_s of one that was transcribed together with others is until its own text came; infer_s is
    that of all.
    """

    text: str
    time_s: float
    infer_s: float
    details: messages.Details


def transcribe(
    channel: Channel, recording: Recording, timeout_s: float, on_partial: Callable[[str], None]
) -> Transcribed:
    """Hand over the audio while it is decoded, take the text.

    An AudioError of the blocks is passed on after the worker was told to forget the snippet.
    """
    deadline = time.monotonic() + timeout_s
    sent, handed_over_at = _begin(channel, recording, deadline, held=False)
    while True:
        received = channel.receive(deadline)
        reply = received.reply
        if not isinstance(reply, messages.Partial) or reply.snippet != recording.snippet:
            break
        on_partial(reply.text)
        if time.monotonic() > deadline:
            raise channel.fault("timed_out", "sent partial texts, no transcript in time")
    answer = checked(channel, messages.Transcript, received)
    return _transcribed(answer, recording.snippet, sent, handed_over_at)


def transcribe_together(
    channel: Channel, recordings: Sequence[Recording], timeout_s: float
) -> list[Transcribed | AudioError]:
    """All audio is handed over, then transcribed at once; of each its text or what is wrong.

    The clock runs from when the worker has all of it.
    """
    deadline = time.monotonic() + timeout_s
    broken: dict[str, AudioError] = {}
    sent: dict[str, int] = {}
    for one in recordings:
        try:
            sent[one.snippet], _ = _begin(channel, one, deadline, held=True)
        except AudioError as error:
            broken[one.snippet] = error
    handed_over_at = time.perf_counter()
    if sent:
        channel.send(messages.TranscribeHeld(), deadline)
    found = {
        snippet: _transcribed(
            expect(channel, messages.Transcript, deadline), snippet, samples, handed_over_at
        )
        for snippet, samples in sent.items()
    }
    return [broken.get(one.snippet) or found[one.snippet] for one in recordings]


def _begin(
    channel: Channel, recording: Recording, deadline: float, held: bool
) -> tuple[int, float]:
    request = messages.Transcribe(recording.snippet, recording.samples_hint, held)
    channel.send(request, deadline)
    return hand_over(channel, recording.snippet, recording.blocks, deadline)


def _transcribed(
    answer: Answer[messages.Transcript], snippet: str, sent: int, handed_over_at: float
) -> Transcribed:
    """Raises WorkerFault if it is of something else than was asked."""
    transcript = answer.reply
    if answer.at < handed_over_at:
        raise WorkerFault("protocol_error", "worker answered before it had all of the audio")
    if transcript.snippet != snippet or transcript.samples != sent:
        raise WorkerFault(
            "protocol_error",
            f"worker answered for {transcript.snippet!r} with {transcript.samples} samples; "
            f"sent were {sent} of {snippet!r}",
        )
    return Transcribed(
        text=transcript.text,
        time_s=answer.at - handed_over_at,
        infer_s=transcript.infer_s,
        details=transcript.details,
    )
