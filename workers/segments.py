"""Long audio in pieces, for models with a limit: cut where it is quietest, so that no word is.

The pieces follow one another without gap or overlap: what models say of them is joined by spaces.
"""

import numpy as np

SAMPLE_RATE_HZ = 16_000  # that of all audio here
FRAME_S = 0.02
PAUSE_S = 0.3  # over which loudness is averaged: a pause between words, not one inside a plosive
MIN_S = 0.5  # no piece is shorter, unless the audio is


def segments(audio, max_s, search_s=None):
    """Pieces (views) of at most max_s each, together the whole audio.

    audio: 1-D samples, 16 kHz. search_s: how far before the limit a pause may be; a third of max_s
    if None; for the last cut around the middle of what is left, as models do badly with a mere
    rest. Only as many cuts are made as the limit asks for.
    """
    if max_s < 2 * MIN_S:
        raise ValueError(f"pieces of {max_s} s are too short to cut speech into")
    search_s = min(max_s / 3 if search_s is None else search_s, max_s - MIN_S)
    search, limit = int(search_s * SAMPLE_RATE_HZ), int(max_s * SAMPLE_RATE_HZ)
    shortest = int(MIN_S * SAMPLE_RATE_HZ)
    found, start = [], 0
    while len(audio) - start > limit:
        left = len(audio) - start
        latest = min(start + limit, len(audio) - shortest)  # so that what remains is a piece
        if left <= 2 * limit - search:  # the last cut: both pieces are within the limit
            latest = min(latest, start + (left + search) // 2)
        earliest = max(start + shortest, latest - search)
        cut = earliest + _quietest(audio[earliest:latest])
        found.append(audio[start:cut])
        start = cut
    return [*found, audio[start:]]


def _quietest(audio):
    """Where the quietest pause has its middle; the last one of equals, for fewer pieces."""
    frame = int(FRAME_S * SAMPLE_RATE_HZ)
    count = len(audio) // frame
    if count < 2:
        return len(audio)
    power = np.square(audio[: count * frame], dtype=np.float64).reshape(count, frame).sum(axis=1)
    width = min(round(PAUSE_S / FRAME_S), count)
    loudness = np.convolve(np.nan_to_num(power), np.ones(width), mode="valid")
    # digital silence has rounding noise in its sums, which must not decide
    quiet = np.flatnonzero(loudness <= loudness.min() + 1e-9)
    return int((quiet[-1] + width / 2) * frame)
