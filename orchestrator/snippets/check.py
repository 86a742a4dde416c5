"""Every problem of a folder of snippets at once, found by decoding all of it."""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.audio.decode import AUDIO_SUFFIXES, DecodedFacts, decode
from orchestrator.errors import AudioError
from orchestrator.snippets.find import collect_snippets
from orchestrator.snippets.snippet import Snippet
from schemas.messages import SAMPLE_RATE_HZ

MIN_S = 0.1


@dataclass
class Checked:
    """What was found. A problem makes a recording unusable, a warning does not."""

    found: int = 0
    usable: int = 0
    audio_s: float = 0.0
    words: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_snippets(path: Path) -> Checked:
    """Look at everything. Raises SnippetsError only if there is nothing to look at."""
    checked = Checked()
    for snippet in collect_snippets(path):
        checked.found += 1
        if snippet.error:
            checked.problems.append(f"{snippet.name}: {snippet.error}")
            _check_audio_too(snippet, checked)
        else:
            _check_one(snippet, checked)
    if path.is_dir():
        checked.warnings += _lonely_texts(path)
    return checked


def _check_audio_too(snippet: Snippet, checked: Checked) -> None:
    """A recording without a reference may be broken as well: say both at once."""
    try:
        for _ in decode(snippet.audio, DecodedFacts()):
            pass
    except AudioError as error:
        if str(error) != snippet.error:
            checked.problems.append(f"{snippet.name}: {error}")


def _check_one(snippet: Snippet, checked: Checked) -> None:
    facts = DecodedFacts()
    try:
        for _ in decode(snippet.audio, facts, snippet.offset_s, snippet.segment_s):
            pass
    except AudioError as error:
        checked.problems.append(f"{snippet.name}: {error}")
        return
    if facts.peak == 0.0 and snippet.reference:
        checked.problems.append(f"{snippet.name}: {snippet.audio} is silent, its reference is not")
        return
    audio_s = facts.samples / SAMPLE_RATE_HZ
    checked.usable += 1
    checked.audio_s += audio_s
    checked.words += len(snippet.reference.split())
    if not snippet.reference:
        checked.warnings.append(f"{snippet.name}: its reference is empty: it will have no WER")
    if facts.clipped_samples:
        checked.warnings.append(f"{snippet.name}: {facts.clipped_samples} samples over full scale")
    if audio_s < MIN_S:
        checked.warnings.append(f"{snippet.name}: only {audio_s:.3f} s long")


def _lonely_texts(root: Path) -> list[str]:
    lonely = []
    for text in sorted(root.rglob("*.txt")):
        if any(part.startswith(".") for part in text.relative_to(root).parts):
            continue
        stem = text.name.removesuffix(".txt").removesuffix(".clean")
        if not any(
            sibling.suffix.lower() in AUDIO_SUFFIXES and sibling.stem == stem
            for sibling in text.parent.glob(f"{glob.escape(stem)}.*")
        ):
            lonely.append(f"{text}: no recording beside it")
    return lonely
