"""What language models say around a transcript is taken away, and what was spoken is not."""

from __future__ import annotations

import pytest

from workers.answers import plain_answers


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("Transcription: we leave at noon", "we leave at noon"),
        ("Transcript: we leave at noon", "we leave at noon"),
        ("The transcription is: we leave at noon", "we leave at noon"),
        ("The audio says: 'we leave at noon'", "we leave at noon"),
        ("The speech says: 'we don't leave'", "we don't leave"),
        ('Sure, here is the transcription of the audio clip:\n\n"We leave."', "We leave."),
        ("Here's the full transcript: we leave", "we leave"),
        ("The audio clip is transcribed as: we leave", "we leave"),
        ('"We leave at noon."', "We leave at noon."),
        ("“We leave at noon.”", "We leave at noon."),
        ("<|assistant|> we leave <|end|>", "we leave"),
        ("<|en|>Transcription: <|0.00|>we leave", "we leave"),
    ],
)
def test_what_is_no_speech_is_taken_away_and_counted(answer, plain):
    assert plain_answers([answer]) == ([plain], 1)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "we leave at noon",
        "The audio says hello to everyone",  # without a colon it may be what was said
        "transcription factors bind to DNA",
        "Sure, here is the plan: we leave at noon",
        "he said: we leave",
        '"Come in," she said, and "sit down"',
        "'tis the season to be jolly, said the boys'",
        "a < b and b > c",
        '"',
    ],
)
def test_what_may_be_speech_stays(answer):
    assert plain_answers([answer]) == ([answer], 0)


def test_blanks_around_an_answer_are_nothing_that_it_says():
    assert plain_answers([" we leave\n", "Transcript: we stay"]) == (["we leave", "we stay"], 1)
