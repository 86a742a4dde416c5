"""Decoding: what a model hears is the recording, the whole recording, or an AudioError."""

from __future__ import annotations

import csv
import os
import re
import struct
import sys

import numpy as np
import pytest
import soundfile
import soxr

from orchestrator.audio.decode import BLOCK_S, DecodedFacts, decode, probe
from orchestrator.errors import AudioError

RATE = 16_000


def decoded(path, *segment):
    """All samples of a recording, and the facts."""
    facts = DecodedFacts()
    blocks = list(decode(path, facts, *segment))
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    return np.concatenate(blocks), facts


def noise(seconds, rate=RATE, channels=1):
    shape = round(seconds * rate) if channels == 1 else (round(seconds * rate), channels)
    return (0.1 * np.random.default_rng(7).standard_normal(shape)).astype(np.float32)


def wav_bytes(data_size, samples, riff_size=None):
    """A 16-bit mono WAV whose header promises data_size bytes, whatever is there."""
    data = np.asarray(samples, "<i2").tobytes()
    riff_size = 36 + data_size if riff_size is None else riff_size
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", riff_size, b"WAVE", b"fmt ", 16, 1, 1,
                       RATE, 2 * RATE, 2, 16)  # fmt: skip
    return head + struct.pack("<4sI", b"data", data_size) + data


def test_sixteen_bit_wav_decodes_bit_exactly(tmp_path):
    whole = np.random.default_rng(1).integers(-32768, 32768, 9 * RATE).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", whole, RATE)
    samples, facts = decoded(tmp_path / "a.wav")
    np.testing.assert_array_equal((samples * 32768).astype(np.int32), whole)
    assert (facts.samples, facts.clipped_samples) == (len(whole), 0)
    assert facts.peak == np.abs(whole.astype(np.int32)).max() / 32768


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_averaged(tmp_path, channels):
    frames = noise(1, channels=channels)
    soundfile.write(tmp_path / "a.wav", frames, RATE, subtype="FLOAT")
    samples, _ = decoded(tmp_path / "a.wav")
    np.testing.assert_allclose(samples, frames.astype(np.float64).mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_length_and_frequency_and_level_of_a_tone(tmp_path, rate):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(10 * rate) / rate)
    soundfile.write(tmp_path / "a.wav", tone, rate, subtype="FLOAT")
    samples, _ = decoded(tmp_path / "a.wav")
    assert abs(len(samples) - 10 * RATE) <= 1
    middle = samples[RATE : 9 * RATE]
    spectrum = np.abs(np.fft.rfft(middle)) / (len(middle) / 2)
    assert np.argmax(spectrum) * RATE / len(middle) == pytest.approx(1000, abs=0.2)
    assert spectrum.max() == pytest.approx(0.5, abs=1e-3)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), abs=1e-3)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_resampling_in_blocks_equals_resampling_at_once(tmp_path, rate):
    whole = noise(10.1, rate)
    soundfile.write(tmp_path / "a.wav", whole, rate, subtype="FLOAT")
    samples, _ = decoded(tmp_path / "a.wav")
    np.testing.assert_allclose(samples, soxr.resample(whole, rate, RATE), atol=2e-5)


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_long_audio_comes_in_several_bounded_blocks_while_the_file_is_read(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", noise(20, rate), rate)
    facts = DecodedFacts()
    blocks = decode(tmp_path / "a.wav", facts)
    first = next(blocks)
    assert facts.samples == len(first)  # not the whole file yet
    sizes = [len(first), *map(len, blocks)]
    assert len(sizes) >= 5
    assert max(sizes) <= 1.1 * BLOCK_S * RATE
    assert abs(sum(sizes) - 20 * RATE) <= 1


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.flac", "PCM_16", 1e-4),
        ("a.flac", "PCM_24", 1e-6),
        ("a.aiff", "PCM_24", 1e-6),
        ("a.au", "PCM_16", 1e-4),
        ("a.ogg", "VORBIS", 0.1),
        ("a.opus", "OPUS", 0.1),
        ("a.mp3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_other_formats_decode_to_the_same_sound(tmp_path, name, subtype, tolerance):
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)).astype(np.float32)
    kind = {"format": "OGG"} if subtype == "OPUS" else {}
    soundfile.write(tmp_path / name, tone, RATE, subtype=subtype, **kind)
    samples, _ = decoded(tmp_path / name)
    assert len(samples) == pytest.approx(len(tone), abs=0.05 * RATE)
    assert probe(tmp_path / name).duration_s == pytest.approx(len(samples) / RATE, abs=0.05)
    shared = slice(0, 29 * RATE // 10)  # lossy coders ring at the end
    np.testing.assert_allclose(samples[shared], tone[shared], atol=tolerance)


def test_samples_over_full_scale_are_counted_and_clipped(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.5, 1.5, -2.0, 1.0, -1.0]), RATE, "FLOAT")
    samples, facts = decoded(tmp_path / "a.wav")
    assert samples.tolist() == [0.5, 1.0, -1.0, 1.0, -1.0]
    assert (facts.clipped_samples, facts.peak) == (2, 2.0)


def test_the_overshoot_of_resampling_is_clipped_but_not_counted(tmp_path):
    square = np.sign(np.sin(2 * np.pi * 400 * np.arange(44_100) / 44_100))
    soundfile.write(tmp_path / "a.wav", square, 44_100, subtype="FLOAT")
    assert np.abs(soxr.resample(square, 44_100, RATE)).max() > 1.0
    samples, facts = decoded(tmp_path / "a.wav")
    assert np.abs(samples).max() == 1.0
    assert facts.clipped_samples == 0


def test_silence_has_peak_zero(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    samples, facts = decoded(tmp_path / "a.wav")
    assert not samples.any()
    assert facts == DecodedFacts(samples=RATE, peak=0.0, clipped_samples=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("channels", "rate"), [(1, RATE), (2, RATE), (1, 8_000)])
def test_a_sample_that_is_not_a_number_is_refused_with_its_position(
    tmp_path, value, channels, rate
):
    frames = noise(6, rate, channels)
    frames.reshape(-1)[round(5.25 * rate) * channels] = value  # in the second block
    soundfile.write(tmp_path / "a.wav", frames, rate, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"a\.wav has a sample that is not a number at 5\.250 s"):
        decoded(tmp_path / "a.wav")


BROKEN = {
    "promises-more.wav": (wav_bytes(2 * RATE, range(8000)), "promises 32000 bytes .* 16000 are"),
    "a-word-short.wav": (wav_bytes(2 * 9000, range(8995)), "is truncated"),
    "streamed.wav": (wav_bytes(0, range(8000), riff_size=0), "says 0 frames but holds 16044 bytes"),
    "nothing.wav": (b"", "is empty: 0 bytes"),
    "no-frames.wav": (wav_bytes(0, []), "has no audio in it: 0 frames"),
    "pointer.wav": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "Git LFS pointer, not audio; run: git lfs pull",
    ),
    "page.wav": (b"<!DOCTYPE html><html>404</html>" * 9, "cannot be decoded: .* Is it audio"),
    "text.mp3": (b"this is not music " * 99, "no audio frames were found"),
    "phone.m4a": (b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(999), "convert it: ffmpeg -i phone.m4a"),
    "mp4-inside.wav": (b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(999), "convert it: ffmpeg"),
}


@pytest.mark.parametrize(("name", "content", "says"), [(n, *v) for n, v in BROKEN.items()])
def test_a_broken_recording_is_refused_with_its_name_and_the_reason(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=says) as refused:
        decoded(tmp_path / name)
    assert name in str(refused.value)


@pytest.mark.parametrize("riff_size", [0xFFFF_FFFF, None])
def test_a_streamed_wav_whose_size_is_a_placeholder_is_read_to_its_end(tmp_path, riff_size):
    content = wav_bytes(0xFFFF_FFFF if riff_size else 0x7FFF_F000, range(8000), riff_size)
    (tmp_path / "a.wav").write_bytes(content)
    samples, _ = decoded(tmp_path / "a.wav")
    assert (samples * 32768).tolist() == list(range(8000))


@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9])
def test_a_compressed_file_cut_in_the_middle_is_refused(tmp_path, name, kept):
    soundfile.write(tmp_path / name, noise(20), RATE)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: round(kept * len(whole))])
    with pytest.raises(AudioError, match=rf"{name} is (damaged after|truncated)"):
        decoded(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs in folders")
def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    for use in (probe, decoded):
        with pytest.raises(AudioError, match=r"a\.wav is not a regular file"):
            use(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["missing.wav", "folder.wav"])
def test_what_is_not_a_file_is_an_audio_error(tmp_path, name):
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match=name):
        probe(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize(("offset", "duration"), [(0, 2.5), (3.25, None), (3.25, 5.0), (9.5, 0.5)])
def test_a_segment_is_the_same_part_of_the_whole(tmp_path, name, offset, duration):
    soundfile.write(tmp_path / name, noise(10), RATE)
    whole, _ = decoded(tmp_path / name)
    part, facts = decoded(tmp_path / name, offset, duration)
    end = len(whole) if duration is None else round((offset + duration) * RATE)
    np.testing.assert_array_equal(part, whole[round(offset * RATE) : end])
    assert facts.samples == len(part)


@pytest.mark.parametrize(
    ("offset", "duration", "says"),
    [(10, None, "offset 10 s is past its end at 10 s"), (1e300, 1, "past its end"),
     (8, 5, r"5\.00 s promised, 2\.00 s decoded"), (0, 1e-9, "0 samples")],
)  # fmt: skip
def test_a_segment_that_is_not_there_is_refused(tmp_path, offset, duration, says):
    soundfile.write(tmp_path / "a.wav", noise(10), RATE)
    with pytest.raises(AudioError, match=says):
        decoded(tmp_path / "a.wav", offset, duration)


# PyAV hears 4.6 s; libsndfile trusts STREAMINFO, which says 1.7 s, and so do we: no number that
# libsndfile gives shows that more frames follow
KNOWN_SHORT = {"flacfaulty__05_-_wrong_total_number_of_samples.flac"}


def seconds_of(column):
    found = re.search(r" ([1-9]\d*)Hz \d+ch (\d+)fr", column)
    return int(found[2]) / int(found[1]) if found else None


def test_every_hostile_file_is_refused_or_decoded_whole(hostile_audio):
    with (hostile_audio / "SOURCES.tsv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(table) > 150
    wrong, short, whole = [], set(), 0
    for line in table:
        name, by_soundfile, by_pyav = line["file"], seconds_of(line["sf"]), seconds_of(line["av"])
        try:
            seconds = len(decoded(hostile_audio / name)[0]) / RATE
        except AudioError as error:
            if not str(error).startswith(str(hostile_audio / name)) and name not in str(error):
                wrong.append(f"{name}: refused without its name: {error}")
            continue
        whole += 1
        if by_soundfile is None or abs(seconds - by_soundfile) > max(0.1, 0.01 * by_soundfile):
            wrong.append(f"{name}: {seconds} s where libsndfile alone has {by_soundfile} s")
        if by_pyav is not None and by_pyav - seconds > max(0.1, 0.01 * seconds):
            short.add(name)
    assert wrong == []
    assert short == KNOWN_SHORT
    assert whole > 90  # refusing everything would pass otherwise


def test_real_speech_decodes_to_the_length_that_its_header_promises(dev_audio):
    files = [file for file in sorted(dev_audio.iterdir()) if file.suffix not in (".txt", ".tsv")]
    assert files
    for file in files:
        samples, facts = decoded(file)
        assert len(samples) / RATE == pytest.approx(probe(file).duration_s, abs=0.05), file
        assert 0.01 < facts.peak <= 1.5, file
