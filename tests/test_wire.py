"""Nothing but a whole, undamaged frame ever comes off the wire as one."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import tracemalloc
import typing
import zlib
from dataclasses import asdict

import msgpack
import pytest

from orchestrator.supervisor.replies import validated
from schemas import messages
from schemas.framing import (
    MAGIC,
    MAX_BLOB_BYTES,
    MAX_HEADER_BYTES,
    PREFIX,
    FramingError,
    encode_frame,
    read_frame,
)

HEADER = {"kind": "audio", "snippet": "garten/straße", "last": True, "n": [1, 2.5, None]}
BLOB = bytes(range(256)) * 3


def read_all(data, place=None, most=10):
    """Up to `most` frames from a real pipe that carries data and then ends."""
    reading, writing = os.pipe()

    def feed():
        with os.fdopen(writing, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
            view = memoryview(data)
            while view:
                view = view[pipe.write(view) :]

    feeder = threading.Thread(target=feed)
    if len(data) > 4096:
        feeder.start()
    else:
        feed()
    frames = []
    try:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while len(frames) < most and (frame := read_frame(pipe, place)) is not None:
                frames.append((frame[0], bytes(frame[1])))
    finally:
        if feeder.ident:
            feeder.join(60)
    return frames


def frame_of(packed, blob=b""):
    """A frame whose lengths and CRC are right around any header bytes."""
    crc = zlib.crc32(blob, zlib.crc32(packed))
    return PREFIX.pack(MAGIC, len(packed), len(blob), crc) + packed + blob


@pytest.mark.parametrize("blob", [b"", b"x", BLOB, b"\xa5ASR" * (MAX_BLOB_BYTES // 4)])
def test_what_is_sent_arrives(blob):
    first = encode_frame(HEADER, blob) + blob
    second = encode_frame({"kind": "load"})
    assert read_all(first + second) == [(HEADER, blob), ({"kind": "load"}, b"")]


def test_a_blob_lands_in_the_memory_that_place_gave():
    memory, asked = bytearray(len(BLOB)), []

    def place(header, length):
        asked.append((header, length))
        return memoryview(memory)

    plain = encode_frame({"kind": "load"})
    frames = read_all(plain + encode_frame(HEADER, BLOB) + BLOB, place)
    assert asked == [(HEADER, len(BLOB))]
    assert bytes(memory) == BLOB == frames[1][1]


def test_a_clean_end_is_none():
    assert read_all(b"") == []


@pytest.mark.parametrize("blob", [b"", b"0123456789"])
def test_every_truncation_is_an_error(blob):
    whole = encode_frame(HEADER, blob) + blob
    for length in range(1, len(whole)):
        with pytest.raises(FramingError):
            read_all(whole[:length])


@pytest.mark.parametrize("after", [b"", encode_frame({"kind": "load"})])
def test_every_flipped_byte_is_an_error_and_never_another_frame(after):
    whole = encode_frame(HEADER, b"0123456789") + b"0123456789"
    for place in range(len(whole)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(whole + after)
            damaged[place] ^= mask
            with pytest.raises(FramingError):
                read_all(bytes(damaged), most=1)


@pytest.mark.parametrize(
    ("header_length", "blob_length"),
    [(2**32 - 1, 2**32 - 1), (MAX_HEADER_BYTES + 1, 0), (0, MAX_BLOB_BYTES + 1), (0, 2**32 - 1)],
)
def test_a_huge_length_is_refused_before_anything_is_allocated(header_length, blob_length):
    tracemalloc.start()
    try:
        with pytest.raises(FramingError, match="over the limit"):
            read_all(PREFIX.pack(MAGIC, header_length, blob_length, 0))
        assert tracemalloc.get_traced_memory()[1] < MAX_HEADER_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("header", [[1, 2], "text", 7, None, b"bytes", [["kind", "load"]]])
def test_a_header_that_is_no_map_is_an_error(header):
    with pytest.raises(FramingError, match="not a map"):
        read_all(frame_of(msgpack.packb(header)))


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",  # the one byte that msgpack never uses
        b"\x81\xa4kind\xa2\xff\xfe",  # invalid UTF-8
        b"\x81\x01\x02",  # a key that is no text
        b"\x81\xa4kind",  # a map that ends early
        b"\xdf\xff\xff\xff\xff",  # a map of four thousand million entries
        b"\xc6\xff\xff\xff\xff",  # bytes, as many
        msgpack.packb({"kind": "load"}) + b"\x00",  # something after the map
        b"\x81\xa4kind" + b"\x91" * 5_000 + b"\xc0",  # lists in lists
        b"\x81\xa4kind" + b"\x81\xa1k" * 200_000 + b"\xc0",  # maps in maps
        b"\x81\xa4kind\xd6\xff" + b"\xff" * 4 + b"\xd4\xff\x00",  # a broken timestamp
        b"\x82\xa4kind\xa4load\xa4kind\xa5audio",  # the same key twice
    ],
)
def test_a_header_that_is_no_msgpack_is_an_error(packed):
    with pytest.raises(FramingError, match=r"^header (is not msgpack: .|announces over)"):
        read_all(frame_of(packed))


@pytest.mark.parametrize(
    "noise",
    [
        b"Loading model...\n",
        b"\n",
        b"\x00" * 64,
        b'{"kind": "load"}' * 9,
        MAGIC[:3],
        b"\xa5ASr" * 9,
    ],
)
def test_noise_on_the_pipe_is_an_error_and_is_quoted(noise):
    with pytest.raises(FramingError) as caught:
        read_all(noise + encode_frame(HEADER))
    assert repr(noise[:4])[2:-1] in str(caught.value)


def test_random_bytes_never_raise_anything_but_a_framing_error():
    generator = random.Random(20)
    for _ in range(3_000):
        with pytest.raises(FramingError):
            read_all(generator.randbytes(generator.randint(1, 80)))


def test_random_bytes_in_a_sound_envelope_are_a_map_or_a_framing_error():
    generator, errors = random.Random(21), 0
    for number in range(6_000):
        noise = generator.randbytes(generator.randint(0, 40))
        packed = noise if number % 2 else b"\x81\xa1k" + noise
        try:
            [(header, blob)] = read_all(frame_of(packed, noise))
        except FramingError:
            errors += 1
        else:
            assert isinstance(header, dict)
            assert blob == noise
    assert 0 < errors < 6_000


def test_a_part_that_is_too_large_is_refused_by_the_sender():
    with pytest.raises(FramingError, match="header of"):
        encode_frame({"text": "x" * MAX_HEADER_BYTES})
    with pytest.raises(FramingError, match="blob of"):
        encode_frame(HEADER, bytes(MAX_BLOB_BYTES + 1))


def test_the_longest_allowed_text_fits_a_frame_in_any_script():
    reply = messages.Transcript("a", "𝔘" * messages.MAX_TEXT_CHARS, 1, 1.0)
    [(header, _)] = read_all(encode_frame(asdict(reply)))
    assert validated(header) == reply


REQUESTS = [
    messages.Import("worker", {"threads": 4, "list": [1, "two"]}, {"beams": 5}),
    messages.Load("/models/größe", "cpu"),
    messages.Load(None, "cuda"),
    messages.Trace(),
    messages.Transcribe("a", 2**40),
    messages.Transcribe("a", 0, held=True),
    messages.Audio("a", True),
    messages.TranscribeHeld(),
    messages.Cancel("a"),
]
REPLIES = [
    messages.Hello(1, 42, "3.9.1", "/env", ["/env/lib"], "open: why"),
    messages.Imported(0.5, False),
    messages.Loaded("cpu", 1.5, {"threads": 4, "precision": "int8", "flash": False, "none": None}),
    messages.Origins({"numpy": "/env/numpy/__init__.py"}, {"größe": "/g.py"}, ["/x"], ["/l.so"]),
    messages.Partial("a", "so far"),
    messages.Transcript("a", "", 0, 0.0, {"confidence": 0.5}),
    messages.Failure("ValueError", "no\nsuch", "Traceback"),
]


@pytest.mark.parametrize("message", REQUESTS + REPLIES, ids=lambda message: message.kind)
def test_every_message_survives_the_wire(message):
    [(header, _)] = read_all(encode_frame(asdict(message)))
    if type(message) in typing.get_args(messages.Reply):
        back = validated(header)
    else:
        back = messages.REQUESTS[header.pop("kind")](**header)
    assert back == message
    assert type(back) is type(message)


def test_no_message_is_forgotten_here():
    sent = {type(message) for message in REQUESTS + REPLIES}
    assert sent == set(typing.get_args(messages.Request)) | set(typing.get_args(messages.Reply))
    assert set(messages.REQUESTS.values()) == set(typing.get_args(messages.Request))


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.kind)
def test_every_reply_refuses_an_extra_field(reply):
    with pytest.raises(ValueError, match="extra"):
        validated(asdict(reply) | {"extra": 1})
