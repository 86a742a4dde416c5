"""Audio and texts that a decoder or parser would pass shorter, longer or other than they are."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
import soundfile
from rich.console import Console

from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.errors import AudioError, SnippetsError
from orchestrator.reports.table import print_report
from orchestrator.snippets.find import collect_snippets
from orchestrator.snippets.snippet import set_sha256

RATE = 16_000


def samples_of(path, *segment):
    return np.concatenate(list(decode(path, DecodedFacts(), *segment)))


def noise(seconds):
    return (0.1 * np.random.default_rng(7).standard_normal(round(seconds * RATE))).astype(
        np.float32
    )


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_mp3_decodes_in_blocks_to_what_it_decodes_to_at_once(tmp_path, rate):
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(20 * rate) / rate)).astype(np.float32)
    soundfile.write(tmp_path / "a.mp3", tone, rate)
    got = samples_of(tmp_path / "a.mp3")
    for tenth in range(10, 190):  # no gap anywhere, also not at a block's start
        part = got[tenth * RATE // 10 : (tenth + 1) * RATE // 10]
        assert np.sqrt(np.mean(part**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05), tenth


def test_a_variable_rate_mp3_without_a_length_in_it_is_whole_or_refused(tmp_path):
    loud_then_quiet = np.concatenate([3 * noise(3), np.zeros(27 * RATE, np.float32)])
    soundfile.write(
        tmp_path / "a.mp3", loud_then_quiet, RATE, bitrate_mode="VARIABLE", compression_level=0.2
    )
    raw = (tmp_path / "a.mp3").read_bytes()
    tag = max(raw.find(b"Xing", 0, 300), raw.find(b"Info", 0, 300))
    (tmp_path / "a.mp3").write_bytes(raw[raw.find(raw[:2], tag) :])  # as ffmpeg -write_xing 0 does
    try:
        got = samples_of(tmp_path / "a.mp3")
    except AudioError:
        return
    assert len(got) / RATE == pytest.approx(30, abs=0.2)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.opus"])
def test_recordings_that_were_concatenated_are_whole_or_refused(tmp_path, name):
    kind = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    soundfile.write(tmp_path / name, noise(10), RATE, **kind)
    first = (tmp_path / name).read_bytes()
    soundfile.write(tmp_path / name, noise(10)[::-1].copy(), RATE, **kind)
    (tmp_path / name).write_bytes(first + (tmp_path / name).read_bytes())
    try:
        got = samples_of(tmp_path / name)
    except AudioError:
        return
    assert len(got) / RATE == pytest.approx(20, abs=0.2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.ogg", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.aiff", {}),
        ("a.au", {}),
        ("a.w64", {}),
        ("a.rf64", {}),
        ("a.nist", {"format": "NIST"}),
    ],
)
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_a_recording_cut_in_the_middle_is_refused_in_every_format(tmp_path, name, kind, kept):
    soundfile.write(tmp_path / name, noise(20), RATE, **kind)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: round(kept * len(whole))])
    with pytest.raises(AudioError, match=name):
        samples_of(tmp_path / name)


def test_a_streamed_flac_whose_header_has_no_length_is_read_whole_or_called_so(tmp_path):
    soundfile.write(tmp_path / "a.flac", noise(10), RATE)
    raw = bytearray((tmp_path / "a.flac").read_bytes())
    raw[21] &= 0xF0  # STREAMINFO: total samples = 0, "unknown"
    raw[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(raw)
    try:
        assert len(samples_of(tmp_path / "a.flac")) == 10 * RATE
    except AudioError as error:
        assert "damaged" not in str(error)


def test_a_flac_cut_between_two_frames_near_its_end_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.flac", noise(20), RATE)
    raw = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(raw[: raw.rfind(b"\xff\xf8")])
    with pytest.raises(AudioError, match=r"a\.flac"):
        samples_of(tmp_path / "a.flac")


def line(**keys):
    return json.dumps({"audio_filepath": "a.wav", "text": "x"} | keys, ensure_ascii=False)


@pytest.mark.parametrize("text", ["one\u2028two", "one\x85two"])
def test_a_manifest_has_only_line_feeds_between_its_lines(tmp_path, text):
    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    (tmp_path / "m.jsonl").write_text(line(text=text), encoding="utf-8")
    assert collect_snippets(tmp_path / "m.jsonl")[0].reference == text


@pytest.mark.parametrize(
    "content",
    [
        '{"audio_filepath": "a.wav", "text": "x", "id": ' + "1" * 5000 + "}",
        '{"audio_filepath": "a\\u0000.wav", "text": "x"}',
        '{"audio_filepath": "a.wav", "text": "x \\ud800"}',
    ],
    ids=["huge-number", "nul-in-path", "lone-surrogate"],
)
def test_a_strange_manifest_line_is_an_error_and_no_traceback(tmp_path, content):
    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    (tmp_path / "m.jsonl").write_text(content, encoding="utf-8")
    try:
        set_sha256(collect_snippets(tmp_path / "m.jsonl"))
    except SnippetsError as error:
        assert "line 1" in str(error)


def test_a_signature_cannot_steer_a_terminal():
    stream = io.StringIO()
    console = Console(file=stream, width=200, force_terminal=True, color_system=None)
    print_report(console, [], [], "device:cpu\x1b[2J\x9b31m")
    assert not {"\x1b", "\x9b"} & set(stream.getvalue())


def test_samples_beyond_all_measure_do_not_become_not_a_number(tmp_path):
    wild = np.tile([3e38, -3e38], 22_050).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wild, 44_100, subtype="FLOAT")
    try:
        got = samples_of(tmp_path / "a.wav")
    except AudioError:
        return
    assert np.isfinite(got).all()


def test_infinities_that_cancel_are_refused_without_a_warning(tmp_path):
    frames = np.zeros((RATE, 2), np.float32)
    frames[8000] = np.inf, -np.inf
    soundfile.write(tmp_path / "a.wav", frames, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"not a number at 0\.500 s"):
        samples_of(tmp_path / "a.wav")


def test_utf16_without_a_byte_order_mark_is_no_reference(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    (tmp_path / "a.txt").write_bytes("hello there".encode("utf-16-le"))
    assert collect_snippets(tmp_path)[0].error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has FIFOs")
def test_a_reference_that_is_a_fifo_is_not_waited_for(asrbench, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    os.mkfifo(tmp_path / "a.txt")
    assert asrbench("snippets", "check", tmp_path, timeout=10).code == 2


def test_segments_of_a_long_recording_keep_their_names_apart(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(11_000 * 100, 0.1), 100)
    (tmp_path / "m.jsonl").write_text(
        "\n".join(line(offset=o, duration=0.5) for o in (10000.10, 10000.12)),
        encoding="utf-8",
    )
    assert [s.error for s in collect_snippets(tmp_path / "m.jsonl")] == [None, None]


def test_texts_in_hidden_folders_are_not_warned_of(in_process, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("x", encoding="utf-8")
    assert "warning" not in in_process("snippets", "check", tmp_path).out


def test_the_hash_of_a_set_changes_with_a_language(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(1), RATE)
    hashes = set()
    for language in ("en", "es"):
        (tmp_path / "m.jsonl").write_text(line(lang=language), encoding="utf-8")
        hashes.add(set_sha256(collect_snippets(tmp_path / "m.jsonl")))
    assert len(hashes) == 2
