"""JSONL manifests: one recording per line, as NeMo and others write them.

    {"audio_filepath": "a/b.wav", "text": "…", "duration": 3.2, "offset": 1.5, "lang": "en"}

Only the first two are required; paths are relative to the manifest. Other keys are ignored.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from orchestrator.errors import SnippetsError
from orchestrator.snippets.snippet import DEFAULT_LANGUAGE, Snippet, printable_name

MAX_LINE_CHARS = 1 << 20


def _encodable(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL in it")
    text.encode("utf-8")  # UnicodeEncodeError, a ValueError, for half a surrogate pair
    return text


Text = Annotated[str, AfterValidator(_encodable)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore"))
class _Line:
    audio_filepath: Annotated[Text, Field(min_length=1)]
    text: Text
    duration: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    offset: Seconds = 0.0
    lang: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*$")] = DEFAULT_LANGUAGE


_LINE = TypeAdapter(_Line)


def read_manifest(file: Path) -> list[Snippet]:
    """The snippets of a manifest. Raises SnippetsError naming the first line that is wrong."""
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise SnippetsError(f"{file} is not UTF-8: {error.reason}; save it as UTF-8") from error
    except OSError as error:
        raise SnippetsError(f"cannot read {file}: {error.strerror}") from error
    entries = [
        _line(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    if not entries:
        raise SnippetsError(f"{file} names no recording")
    uses = Counter(entry.audio_filepath for entry in entries)
    return [_snippet(file, entry, uses[entry.audio_filepath] > 1) for entry in entries]


def _line(file: Path, number: int, line: str) -> _Line:
    if len(line) > MAX_LINE_CHARS:
        raise SnippetsError(f"{file}, line {number}: over {MAX_LINE_CHARS} characters")
    try:
        return _LINE.validate_python(json.loads(line))
    except RecursionError as error:
        raise SnippetsError(f"{file}, line {number} is nested too deeply") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"]) or "the line"
        raise SnippetsError(f"{file}, line {number}: {key}: {problem['msg']}") from error
    except ValueError as error:  # also numbers of thousands of digits
        raise SnippetsError(f"{file}, line {number} is not JSON: {error}") from error


def _snippet(file: Path, line: _Line, several: bool) -> Snippet:
    audio = file.parent / line.audio_filepath  # an absolute path stays as it is
    try:
        below = audio.relative_to(file.parent)
    except ValueError:
        below = audio.relative_to(audio.anchor)
    name = printable_name(below.with_suffix("") if below.suffix else below)
    if line.offset or (
        several and line.duration is not None
    ):  # segments of one recording have names of their own
        end = "" if line.duration is None else _seconds(line.offset + line.duration)
        name += f"@{_seconds(line.offset)}-{end}"
    return Snippet(
        name=name,
        audio=audio,
        reference=line.text.strip(),
        language=line.lang.lower(),
        offset_s=line.offset,
        segment_s=line.duration,
    )


def _seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
