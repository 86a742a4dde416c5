"""Recordings: decoded once, block by block, to what every model gets.

libsndfile decodes; what it would pass silently as shorter, empty or not-a-number audio is an
AudioError here, because a wrong recording costs every model words that it never heard.
"""

from __future__ import annotations

import importlib.metadata
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from orchestrator.audio.containers import UNKNOWN_LENGTH, check_container, ffmpeg_command
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

ROUNDING_S = 0.1  # what manifests round and encoders pad


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


def decoder_version() -> str:
    """Of what turns a file into samples: other versions may give others."""
    libsndfile = soundfile.__libsndfile_version__
    return f"libsndfile {libsndfile}, soxr {importlib.metadata.version('soxr')}"


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """Without the seek that soundfile makes after each read.

    It costs MP3 the bits that a frame borrows from earlier ones: up to 0.3 s after each block would
    be silent or wrong.
    """

    def seekable(self) -> bool:
        return False


def probe(path: Path) -> AudioInfo:
    """Read the header alone. Raises AudioError for what cannot be or would be decoded wrongly."""
    with _open(path) as file:
        check_container(path, file)
        known = 0 < file.frames < UNKNOWN_LENGTH
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
        check_container(path, file)
        wanted = _seek(path, file, offset_s, duration_s)
        resampler = _resampler(path, file.samplerate)
        frames = 0
        for block in _source_blocks(path, file, wanted):
            frames += len(block)
            yield from _emit(path, resampler, block, facts, last=False)
        _check_length(path, file, frames, wanted, duration_s is not None)
        if resampler is not None:
            yield from _emit(path, resampler, np.empty(0, np.float32), facts, last=True)
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
        return _Sequential(_openable(path))
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
        return f"libsndfile does not read this format; convert it: {ffmpeg_command(path)}"
    reason = getattr(error, "error_string", None) or str(error)
    if "possibly a pipe" in reason:  # how the MP3 decoder says that it found no frame
        reason = "no audio frames were found."
    return f"{reason} Is it audio? Copy it again or convert it to WAV or FLAC."


def _seek(path: Path, file: Any, offset_s: float, duration_s: float | None) -> int | None:
    """Go to the segment; the number of source frames wanted, None when the header cannot say."""
    total = file.frames if file.frames < UNKNOWN_LENGTH else None
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
        finite = np.isfinite(frames).all(axis=1)
        if not finite.all():
            at_s = (position + int(np.argmin(finite))) / file.samplerate
            raise AudioError(f"{path} has a sample that is not a number at {at_s:.3f} s")
        position += len(frames)
        yield _mixed_down(frames)


def _mixed_down(frames: npt.NDArray[np.float32]) -> Samples:
    if frames.shape[1] == 1:
        return frames[:, 0]
    mono: Samples = frames.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mono


def _resampler(path: Path, sample_rate_hz: int) -> Any:
    if sample_rate_hz == SAMPLE_RATE_HZ:
        return None
    try:
        return soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
    except (ValueError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot resample from {sample_rate_hz} Hz: {error}") from error


def _emit(
    path: Path, resampler: Any, block: Samples, facts: DecodedFacts, last: bool
) -> Iterator[Samples]:
    if len(block):
        facts.peak = max(facts.peak, float(np.abs(block).max()))
        facts.clipped_samples += int(np.count_nonzero(np.abs(block) > 1.0))
    if resampler is not None:
        block = resampler.resample_chunk(block, last=last)
        if not np.isfinite(block).all():
            raise AudioError(f"{path} has samples so large that they cannot be resampled")
    block = np.clip(block, -1.0, 1.0)  # resampling overshoots too
    facts.samples += len(block)
    if len(block):
        yield block


def _check_length(path: Path, file: Any, frames: int, wanted: int | None, segment: bool) -> None:
    if wanted is None:
        return
    promised_s, decoded_s = wanted / file.samplerate, frames / file.samplerate
    tolerance_s = 0.0
    if segment:  # a manifest's rounded numbers
        tolerance_s = ROUNDING_S
    elif file.format == "MP3":  # its header may estimate
        tolerance_s = max(ROUNDING_S, 0.01 * promised_s)
    if promised_s - decoded_s > tolerance_s:
        raise AudioError(
            f"{path} is truncated: {promised_s:.2f} s promised, {decoded_s:.2f} s decoded; "
            "copy it again"
        )
