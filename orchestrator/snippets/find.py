"""Snippets: recordings with references, found in a folder or named by a JSONL manifest.

What is wrong with one recording becomes a snippet with an error: it costs its own rows. Only what
makes the whole set unusable raises.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import replace
from pathlib import Path

from orchestrator.audio import decode
from orchestrator.errors import AudioError, SnippetsError
from orchestrator.platforms import quoted
from orchestrator.snippets import manifest
from orchestrator.snippets.snippet import Snippet, printable_name

MAX_REFERENCE_BYTES = 1 << 20


def find_snippets(path: Path) -> list[Snippet]:
    """All snippets of a folder or manifest, sorted by name, each with its error if it has one.

    Raises SnippetsError when there is nothing to use.
    """
    found = collect_snippets(path)
    if all(snippet.error for snippet in found):
        raise SnippetsError(
            f"none of the {len(found)} recordings in {path} can be used. The first: "
            f"{found[0].error}\n"
            f"All of them: {quoted(['asrbench', 'snippets', 'check', str(path)])}"
        )
    return found


def collect_snippets(path: Path) -> list[Snippet]:
    """Like find_snippets, but a set in which nothing can be used is returned as it is."""
    if path.is_dir():
        found = [_from_folder(path, file) for file in _audio_files(path)]
        if not found:
            raise SnippetsError(
                f"no audio below {path}; put recordings (WAV, FLAC, MP3, OGG, …) there, each "
                "with its text in NAME.txt beside it"
            )
    elif path.is_file():
        found = manifest.read_manifest(path)
    else:
        raise SnippetsError(f"--snippets {path}: there is no such folder or manifest")
    found = [_inspected(snippet) for snippet in _without_twins(found)]
    return sorted(found, key=lambda snippet: snippet.name)


def read_reference(file: Path) -> str:
    """The text of a reference file. Raises SnippetsError if it is missing or not UTF-8."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # opening a FIFO would wait for ever
            raise SnippetsError(f"{file} is not a regular file")
        with file.open("rb") as stream:
            raw = stream.read(MAX_REFERENCE_BYTES + 1)
    except FileNotFoundError:
        raise SnippetsError(f"no reference: expected the spoken text in {file}") from None
    except OSError as error:
        raise SnippetsError(f"cannot read {file}: {error.strerror}") from error
    if len(raw) > MAX_REFERENCE_BYTES:
        raise SnippetsError(f"{file} is over {MAX_REFERENCE_BYTES} bytes: is it a reference?")
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        is_utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        found = "UTF-16" if is_utf16 else f"not UTF-8 (byte {error.start})"
        raise SnippetsError(f"{file} is {found}; save it as UTF-8") from None
    if "\0" in text:
        raise SnippetsError(f"{file} has NUL bytes: UTF-16 or no text; save it as UTF-8")
    return text


def _audio_files(root: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise SnippetsError(f"cannot read the folder {error.filename}: {error.strerror}")

    files, seen = [], set()
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in decode.AUDIO_SUFFIXES:
                files.append(Path(folder) / name)  # noqa: PERF401
    return files


def _from_folder(root: Path, file: Path) -> Snippet:
    name = printable_name(file.relative_to(root).with_suffix(""))
    clean_file = file.with_suffix(".clean.txt")
    try:
        return Snippet(
            name=name,
            audio=file,
            reference=read_reference(file.with_suffix(".txt")),
            clean_reference=read_reference(clean_file) if clean_file.is_file() else None,
        )
    except SnippetsError as error:
        return Snippet(name=name, audio=file, error=str(error))


def _without_twins(snippets: list[Snippet]) -> list[Snippet]:
    counts = Counter(snippet.name for snippet in snippets)
    kept: dict[str, Snippet] = {}
    for snippet in snippets:
        if counts[snippet.name] > 1 and snippet.name in kept:
            first = kept[snippet.name]
            error = f"two recordings have this name: {first.audio} and {snippet.audio}; rename one"
            kept[snippet.name] = replace(first, error=error)
        else:
            kept[snippet.name] = snippet
    return list(kept.values())


def _inspected(snippet: Snippet) -> Snippet:
    """With its duration and hash; an unreadable recording becomes the snippet's error."""
    if snippet.error:
        return snippet
    try:
        info = decode.probe(snippet.audio)
        digest = _hash_file(snippet.audio)
    except AudioError as error:
        return replace(snippet, error=str(error))
    rest_s = None if info.duration_s is None else max(0.0, info.duration_s - snippet.offset_s)
    segment_s = snippet.segment_s
    if segment_s is not None and rest_s is not None and abs(rest_s - segment_s) < decode.ROUNDING_S:
        segment_s = None  # a manifest's rounded duration must not cut the last samples off
    digest.update(f"{snippet.offset_s}:{segment_s}".encode())
    return replace(
        snippet,
        segment_s=segment_s,
        duration_s=rest_s if segment_s is None else segment_s,
        sha256=digest.hexdigest(),
    )


def _hash_file(path: Path) -> hashlib._Hash:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}") from error
