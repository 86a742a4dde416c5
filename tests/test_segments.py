"""Long audio is cut where it is quiet, and nothing of it is lost or heard twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.pieces import in_pieces
from workers.segments import MIN_S, SAMPLE_RATE_HZ, segments


def _speech(*seconds, pause_s=0.4):
    """Noise of these lengths with pauses between."""
    noise = np.random.default_rng(0)
    parts = []
    for length in seconds:
        parts.append(noise.normal(0, 0.1, int(length * SAMPLE_RATE_HZ)))
        parts.append(noise.normal(0, 1e-4, int(pause_s * SAMPLE_RATE_HZ)))
    return np.concatenate(parts[:-1]).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 70 * SAMPLE_RATE_HZ),
    st.floats(1.0, 40.0),
    st.one_of(st.none(), st.floats(0.02, 50.0)),
    st.sampled_from(["noise", "silence", "nan"]),
)
def test_nothing_is_lost_or_heard_twice(samples, max_s, search_s, kind):
    audio = np.zeros(samples, np.float32)
    if kind != "silence":
        audio[:] = np.random.default_rng(samples).normal(0, 0.1, samples)
    if kind == "nan":
        audio[samples // 2 :] = np.nan
    found = segments(audio, max_s, search_s)
    assert np.array_equal(np.concatenate(found), audio, equal_nan=True)
    assert all(len(piece) <= max_s * SAMPLE_RATE_HZ for piece in found)
    if len(found) > 1:
        assert all(len(piece) >= MIN_S * SAMPLE_RATE_HZ for piece in found)


def test_a_cut_is_in_a_pause():
    found = segments(_speech(9, 8, 7, 9), max_s=20)
    lengths = [len(piece) / SAMPLE_RATE_HZ for piece in found]
    assert lengths == pytest.approx([9 + 0.4 + 8 + 0.2, 0.2 + 7 + 0.4 + 9], abs=0.06)


def test_what_is_short_enough_is_not_cut():
    audio = _speech(10, 10)
    (whole,) = segments(audio, max_s=21)
    assert whole is audio or whole.base is audio


def test_the_last_piece_is_no_mere_rest():
    lengths = [len(piece) / SAMPLE_RATE_HZ for piece in segments(_speech(*[5] * 6), max_s=30)]
    assert lengths == pytest.approx([3 * 5 + 2 * 0.4 + 0.2] * 2, abs=0.06)


def test_of_silences_the_last_is_taken():
    found = segments(np.zeros(65 * SAMPLE_RATE_HZ, np.float32), max_s=30)
    assert len(found) == 3


def test_a_limit_below_any_speech_is_refused():
    with pytest.raises(ValueError, match="too short"):
        segments(np.zeros(10), max_s=0.5)


@pytest.mark.parametrize("seconds", [(3, 9.5, 0.5, 4), (9.5,), (1, 1)])
def test_pieces_go_together_but_never_more_than_there_are_recordings(seconds):
    audios = [np.full(int(one * SAMPLE_RATE_HZ), one, np.float32) for one in seconds]
    asked = []

    def answer(pieces):
        asked.append([len(piece) for piece in pieces])
        return [(float(piece[0]), len(piece)) for piece in pieces]

    answers = in_pieces(audios, 2.0, answer)
    assert len(answers) == len(audios)
    for audio, own in zip(audios, answers, strict=True):
        assert {value for value, _ in own} == {float(audio[0])}
        assert sum(count for _, count in own) == len(audio)
    assert all(len(one) <= len(audios) for one in asked)
    lengths = [length for one in asked for length in one]
    assert lengths == sorted(lengths, reverse=True)
