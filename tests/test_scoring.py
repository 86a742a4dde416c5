"""Scores against arithmetic done by hand and by an independent alignment."""

from __future__ import annotations

import importlib.metadata
import random

import pytest

from orchestrator import scoring
from orchestrator.scoring import corpus_wer, corpus_wer_interval, score, scorer_signature


def counts(result):
    return result.substitutions, result.deletions, result.insertions, result.hits


def levenshtein(reference, hypothesis):
    """Fewest word edits, by the textbook's table."""
    above = list(range(len(hypothesis) + 1))
    for row, wanted in enumerate(reference, start=1):
        line = [row]
        for column, heard in enumerate(hypothesis, start=1):
            swap = above[column - 1] + (wanted != heard)
            line.append(min(swap, above[column] + 1, line[-1] + 1))
        above = line
    return above[-1]


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("I won't go", "I won’t go"),
        ("it's Tom's", "it’s Tom‘s"),
        ("“Yes,” she said.", "yes she said"),
        ("Mr. Smith met Dr. Jones", "mister smith met doctor jones"),
        ("twenty-five dogs", "25 dogs"),
        ("two thousand and five", "2005"),
        ("one thousand", "1,000"),
        ("The colour, please!", "the color please"),
        ("so, um, I uh left", "so I left"),
        ("hello [laughter] there (coughs)", "hello there"),
        ("WELL-KNOWN   words\n", "well known words"),
        ("I'm they're we've", "I am they are we have"),
    ],
)
def test_spelling_that_sounds_the_same_costs_nothing_in_english(reference, hypothesis):
    result = score(reference, hypothesis)
    assert result.reference_words > 0
    assert (result.errors, result.wer, result.cer) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [("will not", "will"), ("25 dogs", "26 dogs"), ("a cat", "the cat"), ("$5", "£5")],
)
def test_words_that_differ_still_cost(reference, hypothesis):
    assert score(reference, hypothesis).errors == 1


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("red green blue", "red green blue", (0, 0, 0, 3)),
        ("red green blue", "red grey blue", (1, 0, 0, 2)),
        ("red green blue", "red blue", (0, 1, 0, 2)),
        ("red green blue", "red green blue pink", (0, 0, 1, 3)),
        ("red green blue", "", (0, 3, 0, 0)),
        ("red", "dark red wine glass", (0, 0, 3, 1)),
        ("red green blue pink", "green blue sky pink", (0, 1, 1, 3)),
        ("red red red", "red", (0, 2, 0, 1)),
        ("", "", (0, 0, 0, 0)),
        ("", "dark red", (0, 0, 2, 0)),
        ("um uh", "red", (0, 0, 1, 0)),
    ],
)
def test_errors_are_counted_as_a_person_counts_them(reference, hypothesis, expected):
    result = score(reference, hypothesis)
    assert counts(result) == expected
    assert result.errors == sum(expected[:3])
    assert result.reference_words == expected[0] + expected[1] + expected[3]


def test_wer_may_exceed_one_and_cer_counts_characters():
    assert score("red", "dark red wine glass").wer == 3.0
    assert score("abcd", "abxd").cer == 0.25
    assert score("red green", "").cer == 1.0


@pytest.mark.parametrize("reference", ["", "  \n", "um", "[noise]"])
def test_an_empty_reference_has_no_rate_of_its_own(reference):
    result = score(reference, "dark red")
    assert (result.wer, result.cer, result.reference_words) == (None, None, 0)


@pytest.mark.parametrize("language", ["en", "es"])
def test_counts_agree_with_an_independent_alignment(language):
    chance = random.Random(20)
    words = ["red", "green", "blue", "pink", "grey"]
    for _ in range(300):
        reference = chance.choices(words, k=chance.randint(1, 12))
        hypothesis = chance.choices(words, k=chance.randint(0, 12))
        result = score(" ".join(reference), " ".join(hypothesis), language)
        assert result.errors == levenshtein(reference, hypothesis)
        assert result.reference_words == len(reference)
        assert result.hits + result.substitutions + result.insertions == len(hypothesis)


def test_character_errors_agree_with_an_independent_alignment():
    chance = random.Random(21)
    for _ in range(100):
        reference = "".join(chance.choices("bcd ", k=20)).strip() or "b"
        hypothesis = "".join(chance.choices("bcd ", k=20))
        result = score(reference, hypothesis, "es")
        expected = levenshtein(result.reference, result.hypothesis) / len(result.reference)
        assert result.cer == pytest.approx(expected)


def test_corpus_wer_weighs_words_and_not_snippets():
    scores = [score("red", "blue"), score("red " * 9, "red " * 9)]
    assert corpus_wer(scores) == pytest.approx(1 / 10)  # the mean would be 1/2


def test_corpus_wer_counts_what_was_heard_in_silence():
    assert corpus_wer([score("red green", "red green"), score("", "dark red")]) == 1.0
    assert corpus_wer([score("", "dark red")]) is None
    assert corpus_wer([]) is None


def some_scores(number):
    chance = random.Random(number)
    words = ["red", "green", "blue", "pink"]
    pairs = []
    for _ in range(number):
        reference = chance.choices(words, k=chance.randint(3, 15))
        hypothesis = [word if chance.random() < 0.8 else "dog" for word in reference]
        pairs.append(score(" ".join(reference), " ".join(hypothesis)))
    return pairs


@pytest.mark.parametrize("number", [2, 5, 20, 100])
def test_the_interval_contains_the_corpus_wer_and_is_always_the_same(number):
    scores = some_scores(number)
    low, high = corpus_wer_interval(scores)
    assert 0 <= low <= corpus_wer(scores) <= high
    assert low < high
    assert corpus_wer_interval(list(scores)) == (low, high)


@pytest.mark.parametrize("picks", [1, 70, 10_000])
def test_the_interval_does_not_depend_on_how_many_resamples_are_drawn_at_once(monkeypatch, picks):
    scores = some_scores(7)
    whole = corpus_wer_interval(scores)
    monkeypatch.setattr(scoring, "BOOTSTRAP_PICKS", picks)
    assert corpus_wer_interval(scores) == whole


def test_more_snippets_make_the_interval_narrower():
    width = [high - low for low, high in map(corpus_wer_interval, map(some_scores, (10, 200)))]
    assert width[1] < width[0] / 2


def test_snippets_that_all_have_one_rate_have_no_width():
    assert corpus_wer_interval([score("red green", "red dog")] * 5) == (0.5, 0.5)


def test_there_is_no_interval_where_there_is_nothing_to_resample():
    assert corpus_wer_interval([]) is None
    assert corpus_wer_interval([score("red", "red")]) is None
    assert corpus_wer_interval([score("", "red"), score("", "")]) is None
    assert corpus_wer_interval([score("", "a"), score("red", "red")]) is not None


@pytest.mark.parametrize("language", ["en", "EN", "en-GB", "en_us", "eng"])
def test_english_in_any_spelling_of_its_code_gets_the_english_normaliser(language):
    assert score("twenty five", "25", language).errors == 0


@pytest.mark.parametrize("language", ["es", "de", "enm", "fr-CA"])
def test_other_languages_get_the_basic_normaliser(language):
    assert score("twenty five", "25", language).errors == 2
    assert score("¡Hola, Señor!", "hola señor", language).errors == 0
    assert score("él dijo", "el dijo", language).errors == 1  # an accent is part of the word
    assert score("mañana", "man\u0303ana", language).errors == 0  # but not how it is encoded


def test_the_signature_names_versions_and_the_normalisers_that_were_used():
    signature = scorer_signature(["en", "en-GB"])
    assert f"jiwer:{importlib.metadata.version('jiwer')}|" in signature
    assert f"whisper-english:{importlib.metadata.version('whisper-normalizer')}" in signature
    assert "whisper-basic+english:" in scorer_signature(["es", "en"])
    assert "whisper-basic:" in scorer_signature(["es"])
