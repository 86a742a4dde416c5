"""Whether a file holds the audio that its container promises: no less, and no more.

libsndfile decodes what it can find and says nothing about the rest: half a file that was cut while
it was copied, or the second of two recordings that were joined. Each would cost every model words.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from orchestrator.errors import AudioError
from orchestrator.platforms import quoted

UNKNOWN_LENGTH = 1 << 40  # libsndfile's stand-in for "the header does not say" is near 2**63
_SIZED_FORMATS = {"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU"}  # their header holds the length
# sizes from here on are placeholders of writers that cannot seek back
_STREAMED_SIZE = {"W64": 1 << 62, "RF64": 1 << 62}
_STREAMED_SIZE_32_BIT = 0x7FFF_0000
# how libsndfile's log says that a header promises more than there is
_SHORT = re.compile(
    r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE
)
_MP3_SLACK_S = 0.25  # encoder delay and padding, which headers may leave out


def check_container(path: Path, file: Any) -> None:
    """Raises AudioError if an open soundfile.SoundFile is not the whole of its file."""
    if file.format in _SIZED_FORMATS:
        _check_sizes(path, file)
    elif file.format == "FLAC" and file.frames >= UNKNOWN_LENGTH:
        raise AudioError(
            f"{path} does not say how long it is, as FLAC written to a pipe does not; rewrite it: "
            f"flac -d {path.name} -o NAME.wav"
        )
    elif file.format == "OGG":
        _check_ogg(path)
    elif file.format == "MP3":
        _check_mp3(path, file)
    elif file.format == "NIST":
        _check_nist(path, file)
    if file.frames == 0:
        raise AudioError(f"{path} has no audio in it: 0 frames")


def ffmpeg_command(path: Path) -> str:
    """What a person types in the recording's folder to make a WAV file of it."""
    return quoted(["ffmpeg", "-i", path.name, "NAME.wav"])


def _check_sizes(path: Path, file: Any) -> None:
    limit = _STREAMED_SIZE.get(file.format, _STREAMED_SIZE_32_BIT)
    for promised, present in _SHORT.findall(file.extra_info):
        if int(present) < int(promised) < limit:
            raise AudioError(
                f"{path} is truncated: its header promises {promised} bytes of audio, "
                f"{present} are there; copy it again"
            )
    size = path.stat().st_size
    if file.frames == 0 and size > 1024:
        raise AudioError(
            f"{path} says 0 frames but holds {size} bytes: a stream whose header was never "
            f"completed; rewrite it: {quoted(['sox', '--ignore-length', path.name, 'NAME.wav'])}"
        )


def _check_nist(path: Path, file: Any) -> None:
    with path.open("rb") as raw:
        promised = re.search(rb"sample_count -i (\d+)", raw.read(1024))
    if promised and int(promised[1]) > file.frames:
        raise AudioError(
            f"{path} is truncated: {int(promised[1])} samples promised, {file.frames} there; "
            "copy it again"
        )


def _check_ogg(path: Path) -> None:
    """Pages: a flag on the first and on the last of each stream. Source: RFC 3533."""
    streams, ended = 0, False
    with path.open("rb") as file:
        while len(head := file.read(27)) == 27 and head.startswith(b"OggS"):
            body = sum(file.read(head[26]))
            streams += bool(head[5] & 2)
            ended = bool(head[5] & 4) and len(file.read(body)) == body
            if not head[5] & 4:
                file.seek(body, 1)
    if streams > 1:
        raise AudioError(
            f"{path} is {streams} recordings joined, of which only the first would be heard; "
            f"decode them into one: {ffmpeg_command(path)}"
        )
    if not ended:
        raise AudioError(f"{path} is truncated: its stream has no end; copy it again")


def _check_mp3(path: Path, file: Any) -> None:
    """libsndfile believes a length that it guessed from the first frame, and stops there."""
    more_s = (_mp3_samples(path) - file.frames) / file.samplerate
    if more_s > _MP3_SLACK_S:
        raise AudioError(
            f"{path} has {more_s:.1f} s more audio than its header says, which would not be heard; "
            f"decode it: {ffmpeg_command(path)}"
        )


# by version bits (3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5). Source: ISO 11172-3, 13818-3, layer III
_MP3_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_ID3V1_BYTES = 128


def _mp3_samples(path: Path) -> int:
    """Samples in all frames; bytes count as a frame when another one or the end follows them."""
    data = path.read_bytes()
    at = samples = 0
    if data.startswith(b"ID3") and len(data) > 10:
        at = 10 + (data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9])
    while 0 <= (at := data.find(b"\xff", at)) <= len(data) - 4:
        size, frame_samples = _mp3_frame(data[at + 1], data[at + 2])
        follows = at + size
        if size and (follows >= len(data) - _ID3V1_BYTES or data[follows] == 0xFF):
            samples += frame_samples
            at = follows
        else:
            at += 1
    return samples


def _mp3_frame(second: int, third: int) -> tuple[int, int]:
    """Bytes and samples of the frame with this header; (0, 0) if it is none."""
    version, rate, kbps = second >> 3 & 3, third >> 2 & 3, third >> 4
    if second & 0xE6 != 0xE2 or version == 1 or rate == 3 or kbps in (0, 15):
        return 0, 0
    samples = 1152 if version == 3 else 576
    bits_per_s = 1000 * (_MPEG1_KBPS if version == 3 else _MPEG2_KBPS)[kbps]
    return samples // 8 * bits_per_s // _MP3_RATES_HZ[version][rate] + (third >> 1 & 1), samples
