"""Whatever comes off the wire is a frame, a reply or an error: fuzz_framing.py in brief."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
import tracemalloc
from dataclasses import asdict

import msgpack
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import paths
from schemas import messages
from schemas.framing import (
    MAGIC,
    MAX_HEADER_BYTES,
    MAX_VALUES,
    PREFIX,
    UNCOUNTED_BYTES,
    FramingError,
    encode_frame,
    read_frame,
)
from workers.host import Host

sys.path.insert(0, str(ROOT / "scripts"))
from fuzz_framing import Slices, Subject, check, run
from fuzz_inputs import ODD_BYTES, ODD_SCALARS, REPLIES, frame_of

# derandomize: the same inputs in every run, so that a change is to blame if one fails
FUZZ = settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow]
)
LIMIT_S = 60
SEEDS = st.integers(0, 1000)  # of the slices in which a stream arrives
MANY = struct.pack(">I", MAX_HEADER_BYTES - 16)


def look(data, sound=0, seed=0, subject=None):
    tracemalloc.start()
    try:
        return check(data, sound, random.Random(seed), subject or Subject())
    finally:
        tracemalloc.stop()


def _containers(inside):
    lists = st.lists(inside, max_size=4)
    counts = st.sampled_from([0, 0, 0, 0, 1, -1])  # mostly right

    def array(values, off):
        return bytes([0x90 + max(0, len(values) + off)]) + b"".join(values)

    def table(values, keys, off):
        packed = [key + value for key, value in zip(keys, values, strict=False)]
        return bytes([0x80 + max(0, len(packed) + off)]) + b"".join(packed)

    return st.builds(array, lists, counts) | st.builds(table, lists, lists, counts)


ANNOUNCED = st.builds(
    lambda code, length, width: bytes([code]) + struct.pack(">I", length)[-width:],
    st.integers(0xC4, 0xDF),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 4]),
)
DEEP = st.builds(
    lambda step, levels: step * levels + b"\xc0",
    st.sampled_from([b"\x91", b"\x81\xa1k", b"\xdc\x00\x01"]),
    st.sampled_from([1, 30, 500, 1_000, 1_100, 3_000]),
)
COMMON = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
COMMON |= st.text(max_size=20) | st.binary(max_size=20) | st.sampled_from(ODD_SCALARS)
VALUES = st.recursive(
    COMMON.map(msgpack.packb) | st.sampled_from(ODD_BYTES) | ANNOUNCED | DEEP, _containers
)
FRAMES = st.lists(
    st.builds(
        lambda header, blob: encode_frame(header, blob) + blob,
        st.sampled_from(REPLIES),
        st.binary(max_size=30),
    ),
    min_size=1,
    max_size=3,
)


@FUZZ
@given(st.binary(max_size=200), st.booleans(), SEEDS)
def test_any_bytes_are_a_framing_error(data, with_magic, seed):
    data = MAGIC * with_magic + data
    assert look(data, seed=seed) == ("FramingError" if data else "replies only")


@FUZZ
@given(VALUES | st.binary(max_size=60), st.booleans(), st.binary(max_size=9), SEEDS)
def test_any_header_in_a_sound_envelope_is_a_map_or_a_framing_error(value, in_map, blob, seed):
    look(frame_of(b"\x81\xa1k" * in_map + value, blob), seed=seed)


@FUZZ
@given(st.sampled_from(REPLIES), st.data(), VALUES, SEEDS)
def test_any_value_in_a_reply_is_taken_as_it_is_or_refused_by_its_name(reply, data, value, seed):
    changed = data.draw(st.sampled_from(sorted(reply)))
    twice = data.draw(st.booleans())
    pairs = []
    for key, honest in reply.items():
        pairs += [(key, value)] if key == changed else [(key, msgpack.packb(honest))]
        pairs += [(key, msgpack.packb(honest))] * (twice and key == changed)
    packed = b"".join(msgpack.packb(key) + value for key, value in pairs)
    found = look(frame_of(bytes([0x80 + len(pairs)]) + packed), seed=seed)
    assert not twice or found == "FramingError"


@FUZZ
@given(FRAMES, st.data(), SEEDS)
def test_a_cut_or_a_splice_costs_no_frame_before_it_and_makes_none(frames, data, seed):
    whole = b"".join(frames)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    piece = data.draw(st.sampled_from([whole, frames[0], frames[-1][:20], b""]) | st.binary())
    damaged = whole[:start] + piece + whole[end:]
    starts = [b"".join(frames[: count + 1]) for count in range(len(frames))]
    look(damaged, sum(map(damaged.startswith, starts)), seed)


@FUZZ
@given(FRAMES, st.sampled_from([4, 8, 12]), st.integers(0, 2**32 - 1) | st.integers(0, 99), SEEDS)
def test_a_changed_length_or_crc_is_never_believed(frames, field, number, seed):
    whole = b"".join(frames)
    changed = whole[:field] + struct.pack(">I", number) + whole[field + 4 :]
    if changed == whole:
        look(whole, len(frames), seed)
    else:
        assert look(changed, seed=seed) == "FramingError"


@pytest.mark.parametrize(
    "inside",
    [
        *(
            b"\xdd" + struct.pack(">I", 2**20 // len(item) - 9) + item * (2**20 // len(item) - 9)
            for item in (b"\x80", b"\x90", b"\xc0", b"\x81\xa0\x90", b"\xa2ab", b"\xd4\x05x")
        ),
        (b"\xdd" + MANY) * 1_000 + bytes(2**20 - 5_016),
        (b"\xdd" + MANY) * 1_000,
        (b"\xdf" + MANY + b"\xa1k") * 1_000,
        (b"\xdc\x20\x00") * 1_000,
    ],
    ids=lambda inside: f"{inside[:8].hex()} {len(inside)}",
)
def test_a_header_of_countless_values_is_refused_before_it_is_unpacked(inside):
    subject = Subject()
    data = frame_of(b"\x81\xa4kind" + inside)
    assert look(data, subject=subject) == "FramingError"
    assert subject.highest_bytes < len(data) + 32_768


@pytest.mark.parametrize(
    "announced", [b"\xdc\x01\xf4", b"\xdd\x00\x00\x01\xf4", b"\xde\x00\xfa\xa1k"]
)
def test_a_header_that_is_too_short_to_be_counted_cannot_ask_for_much(announced):
    packed = b"\x81\xa4kind" + announced * (UNCOUNTED_BYTES // len(announced))
    subject = Subject()
    assert look(frame_of(packed[:UNCOUNTED_BYTES]), subject=subject) == "FramingError"
    assert subject.highest_bytes < 1 << 20


def test_the_longest_text_stays_below_the_highest_memory():
    rare = b"a" * (MAX_HEADER_BYTES - 20) + "𝔘".encode()
    subject = Subject()
    packed = b"\x81\xa4text\xdb" + struct.pack(">I", len(rare)) + rare
    assert look(frame_of(packed, bytes(2**20)), subject=subject) == "frames, some no reply"
    assert subject.highest_bytes > 4 * MAX_HEADER_BYTES  # or the bound would say nothing


def test_as_many_values_as_allowed_are_read():
    header = {"k": [None] * (MAX_VALUES - 3)}  # beside them map, key and list
    assert look(encode_frame(header), 1) == "frames, some no reply"
    with pytest.raises(FramingError, match="values"):
        encode_frame({"k": [None] * (MAX_VALUES - 2)})


# --- the host ------------------------------------------------------------------------------


@FUZZ
@given(st.lists(st.binary(max_size=40), max_size=4), st.integers(-5, 30), st.data(), SEEDS)
def test_the_host_places_what_was_sent_and_nothing_else(blobs, hint, data, seed):
    frames = [encode_frame(asdict(messages.Audio("a", False)), blob) + blob for blob in blobs]
    whole = b"".join(frames)
    start = data.draw(st.integers(0, len(whole)))
    stream = Slices(whole[:start] + data.draw(st.binary(max_size=20)), random.Random(seed))
    replies, received = [], []
    host = Host(replies.append)
    host.answer(messages.Transcribe("a", hint))
    try:
        while (frame := read_frame(stream, host.place)) is not None:
            received.append(bytes(frame[1]))
            assert frame[0] == asdict(messages.Audio("a", False))
    except (FramingError, ValueError) as error:
        assert isinstance(error, FramingError) or "are not float32" in str(error)
    assert not replies
    assert received == blobs[: len(received)]
    assert host._audio.samples().tobytes()[: len(b"".join(received))] == b"".join(received)


SPOILT = bytearray(encode_frame({"kind": "load", "checkpoint": None, "device": "cpu"}))
SPOILT[-1] ^= 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"Loading model...\n", "FramingError: expected a frame"),
        (bytes(SPOILT), "FramingError: frame is damaged"),
        (PREFIX.pack(MAGIC, 2**32 - 1, 0, 0), "FramingError: frame announces"),
        (frame_of(b"\x81\xa4kind" + (b"\xdd" + MANY) * 1_000), "FramingError: header announces"),
        (frame_of(msgpack.packb({"kind": "audio"}), b"0123"), "a blob came without a snippet"),
        (frame_of(b"\x80"), "KeyError: 'kind'"),
        (frame_of(msgpack.packb({"kind": "hello"})), "KeyError: 'hello'"),
        (frame_of(msgpack.packb({"kind": ["load"]})), "TypeError"),
        (frame_of(msgpack.packb({"kind": "load", "odd": 1})), "TypeError"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_host_that_is_sent_rubbish_ends_and_says_why(data, words):
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-X", "utf8", paths.HOST, str(os.getpid()), "open"],
        input=data,
        capture_output=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 1
    assert words in done.stderr.decode("utf-8")
    stream = Slices(done.stdout, random.Random(0))
    assert read_frame(stream)[0]["kind"] == "hello"
    assert stream.at == len(done.stdout)  # nothing was answered


def without_crc(stream):
    try:
        return read_frame(stream)
    except FramingError as error:
        if "CRC" in str(error):
            return {}, memoryview(b"")
        raise


def searching(stream):
    while True:
        try:
            return read_frame(stream)
        except FramingError as error:
            if "expected" not in str(error):
                raise


def greedy(stream):
    room = np.empty(32 << 20, np.uint8)
    return read_frame(stream) if len(room) else None


def lax(header):
    try:
        return messages.Transcript(**(header | {"text": str(header["text"])}))
    except (KeyError, TypeError):
        raise ValueError("kind: is no transcript") from None


@pytest.mark.parametrize(
    "subject",
    [
        Subject(read=without_crc),
        Subject(read=searching),
        Subject(read=greedy),
        Subject(read=lambda stream: None),
        Subject(read=lambda stream: {}["kind"]),
        Subject(judge=lax),
        Subject(judge=lambda header: {}["kind"]),
        Subject(judge=lambda header: messages.Imported(0.5, False)),
    ],
)
def test_the_long_run_finds_a_broken_reader(subject, capsys):
    assert run(1_000, 0, subject) > 0
    assert "violation at input" in capsys.readouterr().out


def test_the_long_run_finds_nothing_here(capsys):
    assert run(3_000, 1, Subject()) == 0
    assert "0 violations" in capsys.readouterr().out
