"""A recording's samples on their way to a worker, block by block while they are decoded."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from orchestrator.audio.decode import Samples
from orchestrator.errors import AudioError
from orchestrator.supervisor.channel import Channel
from schemas import messages


def hand_over(
    channel: Channel, snippet: str, blocks: Iterator[Samples], deadline: float
) -> tuple[int, float]:
    """How many samples were sent, and when the last block began to be handed over.

    Its end would be too late: a quick worker can have answered before we look at the clock.
    An AudioError of the blocks is passed on after the worker was told to forget the snippet.
    """
    sent, held = 0, None
    try:
        for block in blocks:
            if held is not None:
                _send(channel, snippet, held, False, deadline)
                sent += len(held)
            held = block
    except AudioError:
        channel.send(messages.Cancel(snippet), deadline)
        raise
    assert held is not None  # no samples at all is an AudioError
    handed_over_at = time.perf_counter()
    _send(channel, snippet, held, True, deadline)
    return sent + len(held), handed_over_at


def _send(channel: Channel, snippet: str, block: Samples, last: bool, deadline: float) -> None:
    blob = memoryview(np.ascontiguousarray(block, "<f4").data).cast("B")
    channel.send(messages.Audio(snippet, last), deadline, blob)
