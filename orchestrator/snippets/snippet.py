"""What a snippet is, and the identity of a set of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Snippet:
    """One recording with its reference. error says why it cannot be used, if it cannot."""

    name: str  # path below the snippets folder without suffix, with forward slashes
    audio: Path
    reference: str = ""
    clean_reference: str | None = None  # without the disfluencies that the reference spells out
    language: str = DEFAULT_LANGUAGE
    offset_s: float = 0.0
    segment_s: float | None = None  # length of the segment; None: to the end
    duration_s: float | None = None  # what the header says; None: it does not say
    sha256: str = ""  # of the file's bytes and the segment
    error: str | None = None


def set_sha256(snippets: Iterable[Snippet]) -> str:
    """Identity of a snippet set: recordings and references, in any order."""
    parts = sorted(
        json.dumps([s.name, s.sha256, s.reference, s.clean_reference, s.language]) for s in snippets
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def printable_name(path: Path) -> str:
    """A path as text that UTF-8 can carry, also where the file system's bytes are not UTF-8."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")
