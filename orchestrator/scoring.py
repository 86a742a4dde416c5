"""Word and character error rates: the only user of jiwer and of the normaliser.

Scores are pure functions of texts, so an old run can be scored again without running a model.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

BOOTSTRAP_SAMPLES = 1000
BOOTSTRAP_SEED = 0
BOOTSTRAP_PICKS = 1 << 18  # at once: 1,000 resamples of 20,000 snippets would be 500 MB
# Whisper's normaliser expands "won't" but not "won’t"
_STRAIGHT = str.maketrans({"‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"'})


@dataclass(frozen=True, slots=True)
class Score:
    """One hypothesis against one reference, both after the normaliser. Rates are fractions."""

    reference: str
    hypothesis: str
    hits: int
    substitutions: int
    deletions: int
    insertions: int
    character_errors: int
    reference_characters: int

    @property
    def reference_words(self) -> int:
        """N, what the errors are divided by."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """S + D + I."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float | None:
        """(S + D + I) / N; None for an empty reference, whose insertions still count in a sum."""
        return self.errors / self.reference_words if self.reference_words else None

    @property
    def cer(self) -> float | None:
        """The same over characters."""
        characters = self.reference_characters
        return self.character_errors / characters if characters else None


def score(reference: str, hypothesis: str, language: str = "en") -> Score:
    """Compare two raw texts. A missing hypothesis is the empty text: all deletions."""
    normalise = _normaliser(_is_english(language))
    reference, hypothesis = normalise(reference), normalise(hypothesis)
    if not reference:  # jiwer would call every inserted word an error rate of 100 %
        inserted = len(hypothesis.split())
        return Score(reference, hypothesis, 0, 0, 0, inserted, len(hypothesis), 0)
    words = jiwer.process_words(reference, hypothesis)
    characters = jiwer.process_characters(reference, hypothesis)
    return Score(
        reference=reference,
        hypothesis=hypothesis,
        hits=words.hits,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        character_errors=(characters.substitutions + characters.deletions + characters.insertions),
        reference_characters=characters.hits + characters.substitutions + characters.deletions,
    )


def corpus_wer(scores: Sequence[Score]) -> float | None:
    """Sum of errors over sum of reference words; None when there are no reference words."""
    words = sum(score.reference_words for score in scores)
    return sum(score.errors for score in scores) / words if words else None


def corpus_cer(scores: Sequence[Score]) -> float | None:
    """Sum of character errors over sum of reference characters."""
    characters = sum(score.reference_characters for score in scores)
    return sum(score.character_errors for score in scores) / characters if characters else None


def corpus_wer_interval(scores: Sequence[Score]) -> tuple[float, float] | None:
    """95 % percentile-bootstrap interval of the corpus WER, resampling snippets.

    None for fewer than two snippets. Source: Bisani & Ney, ICASSP 2004.
    """
    if len(scores) < 2 or corpus_wer(scores) is None:
        return None
    errors = np.array([score.errors for score in scores], dtype=np.float64)
    words = np.array([score.reference_words for score in scores], dtype=np.float64)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    step, rates = max(1, BOOTSTRAP_PICKS // len(scores)), []
    for start in range(0, BOOTSTRAP_SAMPLES, step):
        count = min(step, BOOTSTRAP_SAMPLES - start)
        picks = generator.integers(0, len(scores), size=(count, len(scores)))
        sums = words[picks].sum(axis=1)
        rates.append(errors[picks].sum(axis=1)[sums > 0] / sums[sums > 0])
    low, high = np.percentile(np.concatenate(rates), [2.5, 97.5])
    return float(low), float(high)


def scorer_signature(languages: Sequence[str]) -> str:
    """Scorer and normalisers with their versions."""
    version = importlib.metadata.version
    kinds = sorted({"english" if _is_english(lang) else "basic" for lang in languages})
    return (
        f"jiwer:{version('jiwer')}|norm:whisper-{'+'.join(kinds)}:"
        f"{version('whisper-normalizer')}|case:folded"
    )


def _is_english(language: str) -> bool:
    return language.replace("_", "-").split("-")[0].lower() in ("en", "eng")


@functools.cache
def _normaliser(english: bool) -> Callable[[str], str]:
    # imported late: the word tables take a third of a second
    if english:
        from whisper_normalizer.english import EnglishTextNormalizer

        normalise = EnglishTextNormalizer()
    else:
        from whisper_normalizer.basic import BasicTextNormalizer

        normalise = BasicTextNormalizer()

    def straighten_and_normalise(text: str) -> str:
        return str(normalise(text.translate(_STRAIGHT))).strip()

    return straighten_and_normalise
