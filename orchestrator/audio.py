"""Recordings: decoded once, block by block, to what every model gets.

libsndfile decodes; what it would pass silently as shorter, empty or not-a-number audio is an
AudioError here, because a wrong recording costs every model words that it never heard.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from orchestrator.errors import AudioError
from schemas.messages import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float32]

BLOCK_S = 4.0  # 256 KB on the pipe
# what soundfile can open by suffix, and what people have but it cannot: the latter must not be
# overlooked, so they are snippets too, with an error that says what to do
READABLE_SUFFIXES = frozenset(
    ".wav .flac .mp3 .ogg .oga .opus .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .nist".split()
)
FOREIGN_SUFFIXES = frozenset(".m4a .mp4 .aac .wma .webm .mkv .amr .ape .wv .mov .3gp".split())
AUDIO_SUFFIXES = READABLE_SUFFIXES | FOREIGN_SUFFIXES

_UNKNOWN_LENGTH = 1 << 40  # libsndfile's stand-in for "the header does not say" is near 2**63
_STREAMED_SIZE = 0x7FFF_0000  # sizes from here on are placeholders of writers that never seek back
_ESTIMATE_TOLERANCE_S = 0.1  # mp3 headers estimate; encoder padding is below this
_SIZED_FORMATS = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU"}  # their header holds the length
_WAV_DATA_SIZE = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says. duration_s is None where it does not say."""

    duration_s: float | None
    sample_rate_hz: int
    channels: int
    format: str


@dataclass
class DecodedFacts:
    """What was seen while decoding; complete when the blocks are exhausted."""

    samples: int = 0  # at 16 kHz
    peak: float = 0.0
    clipped_samples: int = 0


def probe(path: Path) -> AudioInfo:
    """Read the header alone. Raises AudioError for what cannot be or would be decoded wrongly."""
    with _open(path) as file:
        _check_header(path, file)
        known = 0 < file.frames < _UNKNOWN_LENGTH
        return AudioInfo(
            duration_s=file.frames / file.samplerate if known else None,
            sample_rate_hz=file.samplerate,
            channels=file.channels,
            format=f"{file.format} {file.subtype}",
        )


def decode(
    path: Path, facts: DecodedFacts, offset_s: float = 0.0, duration_s: float | None = None
) -> Iterator[Samples]:
    """Blocks of 1-D float32 at 16 kHz mono in [-1, 1], while the file is still being read.

    Fills facts on the way. Raises AudioError, perhaps after some blocks, when the recording is
    unreadable, shorter than its header or the wanted segment, empty, or has NaN or infinity.
    """
    with _open(path) as file:
        _check_header(path, file)
        wanted = _seek(path, file, offset_s, duration_s)
        resampler = _resampler(path, file.samplerate)
        frames = 0
        for block in _source_blocks(path, file, wanted):
            frames += len(block)
            yield from _emit(resampler, block, facts, last=False)
        _check_length(path, frames, wanted, file.samplerate)
        if resampler is not None:
            yield from _emit(resampler, np.empty(0, np.float32), facts, last=True)
    if facts.samples == 0:
        raise AudioError(f"{path} has no audio in it: 0 samples")


def _open(path: Path) -> Any:
    try:
        status = path.stat()
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        raise AudioError(f"{path} is not a regular file")
    if status.st_size == 0:
        raise AudioError(f"{path} is empty: 0 bytes; copy or download it again")
    try:
        return soundfile.SoundFile(_openable(path))
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as error:
        raise AudioError(f"{path} cannot be decoded: {_why_not(path, error)}") from error


def _openable(path: Path) -> Path | bytes:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # POSIX names are bytes, and these are not UTF-8
        return os.fsencode(path)
    return path


def _why_not(path: Path, error: Exception) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as unreadable:
        return str(unreadable.strerror)
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not audio; run: git lfs pull"
    if path.suffix.lower() in FOREIGN_SUFFIXES or start[4:8] == b"ftyp":
        return f"libsndfile does not read this format; convert it: ffmpeg -i {path.name} NAME.wav"
    reason = getattr(error, "error_string", None) or str(error)
    if "possibly a pipe" in reason:  # how the MP3 decoder says that it found no frame
        reason = "no audio frames were found."
    return f"{reason} Is it audio? Copy it again or convert it to WAV or FLAC."


def _check_header(path: Path, file: Any) -> None:
    announced = _WAV_DATA_SIZE.search(file.extra_info)
    if announced:
        promised, present = int(announced[1]), int(announced[2])
        if present < promised < _STREAMED_SIZE:
            raise AudioError(
                f"{path} is truncated: its header promises {promised} bytes of audio, "
                f"{present} are there; copy it again"
            )
    if file.frames == 0:
        size = path.stat().st_size
        if size > 1024 and file.format in _SIZED_FORMATS:
            raise AudioError(
                f"{path} says 0 frames but holds {size} bytes: a stream whose header was never "
                f"completed; rewrite it: sox --ignore-length {path.name} NAME.wav"
            )
        raise AudioError(f"{path} has no audio in it: 0 frames")
    if file.samplerate <= 0 or file.channels <= 0:
        raise AudioError(f"{path} says {file.samplerate} Hz and {file.channels} channels")


def _seek(path: Path, file: Any, offset_s: float, duration_s: float | None) -> int | None:
    """Go to the segment; the number of source frames wanted, None when the header cannot say."""
    total = file.frames if file.frames < _UNKNOWN_LENGTH else None
    first = round(offset_s * file.samplerate)
    if first:
        if total is not None and first >= total:
            raise AudioError(
                f"{path}: offset {offset_s:g} s is past its end at {total / file.samplerate:g} s"
            )
        try:
            file.seek(first)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{path}: cannot go to {offset_s:g} s: {error}") from error
    if duration_s is not None:
        return int(duration_s * file.samplerate + 0.5)
    return None if total is None else int(total - first)


def _source_blocks(path: Path, file: Any, wanted: int | None) -> Iterator[Samples]:
    block_frames = max(1, round(BLOCK_S * file.samplerate))
    position = 0
    while wanted is None or position < wanted:
        count = block_frames if wanted is None else min(block_frames, wanted - position)
        try:
            frames = file.read(count, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            at_s = position / file.samplerate
            raise AudioError(f"{path} is damaged after {at_s:.1f} s: {error}") from error
        if len(frames) == 0:
            return
        mono = frames.mean(axis=1, dtype=np.float32) if frames.shape[1] > 1 else frames[:, 0]
        if not np.isfinite(mono).all():
            at_s = (position + int(np.argmin(np.isfinite(mono)))) / file.samplerate
            raise AudioError(f"{path} has a sample that is not a number at {at_s:.3f} s")
        position += len(frames)
        yield mono


def _resampler(path: Path, sample_rate_hz: int) -> Any:
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return None
    try:
        return soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
    except (ValueError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot resample from {sample_rate_hz} Hz: {error}") from error


def _emit(resampler: Any, block: Samples, facts: DecodedFacts, last: bool) -> Iterator[Samples]:
    if len(block):
        facts.peak = max(facts.peak, float(np.abs(block).max()))
        facts.clipped_samples += int(np.count_nonzero(np.abs(block) > 1.0))
    if resampler is not None:
        block = resampler.resample_chunk(block, last=last)
    block = np.clip(block, -1.0, 1.0)  # resampling overshoots too
    facts.samples += len(block)
    if len(block):
        yield block


def _check_length(path: Path, frames: int, wanted: int | None, sample_rate_hz: int) -> None:
    if wanted is None:
        return
    missing_s = (wanted - frames) / sample_rate_hz
    if missing_s > max(_ESTIMATE_TOLERANCE_S, 0.01 * wanted / sample_rate_hz):
        raise AudioError(
            f"{path} is truncated: {wanted / sample_rate_hz:.2f} s promised, "
            f"{frames / sample_rate_hz:.2f} s decoded; copy it again"
        )
