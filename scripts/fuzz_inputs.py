"""The inputs of fuzz_framing.py: streams of frames that are sound, odd or damaged."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import asdict
from typing import Any

import msgpack

from schemas import messages
from schemas.framing import MAGIC, MAX_HEADER_BYTES, PREFIX, TAIL_BYTES, encode_frame

LARGE_SHARE = 1 / 2_000

_REPLIES: list[messages.Reply] = [
    messages.Hello(1, 42, "3.9.1", "/env", ["/env/lib", "/größe"], "none"),
    messages.Imported(0.5, True),
    messages.Loaded("cpu", 1.5, {"threads": 4, "precision": "int8", "flash": False, "none": None}),
    messages.Origins({"numpy": "/env/numpy/__init__.py"}, {"größe": "/g.py"}, ["/x"], ["/l.so"]),
    messages.Partial("garten/straße", "so far"),
    messages.Transcript("a", "hello 𝔘", 16_000, 0.25, {"confidence": 0.5}),
    messages.Failure("ValueError", "no\nsuch", "Traceback"),
]
REPLIES = [asdict(reply) for reply in _REPLIES]

ODD_SCALARS: list[Any] = [None, True, False, "", "x", "5", "hello", "\x1b[31m\x00", b"", b"hello"]
ODD_SCALARS += ["transcript", "x" * 3_000, "ä€𝔘", 0, 1, -1, 255, 2**31, 2**63, 2**64 - 1, -(2**63)]
ODD_SCALARS += [0.0, -0.0, 0.5, -1.5, 1e308, 5e-324, 16_000.0, float("nan"), float("inf")]
ODD_BYTES = [
    b"\xc1",  # never used
    b"\xca\x3f\x80\x00\x00",  # 1.0 in four bytes
    b"\xd3" + b"\x00" * 8,  # 0 in eight
    b"\xd4\x05x",  # an extension
    b"\xc7\x00\x01",  # an empty one
    b"\xd6\xff\x11\x01\x01\x01",  # a time
    b"\xd6\xff\xff\xff\xff\xff",
    b"\xc7\x0c\xff" + b"\xff" * 12,  # one that is none
    b"\xa2\xff\xfe",  # no UTF-8
    b"\xa3\xed\xa0\x80",  # half a surrogate pair
    b"\xd9\x01x",  # a text that is packed longer than it need be
]


def frame_of(packed: bytes, blob: bytes = b"") -> bytes:
    """A frame whose lengths and CRC are right around any header bytes."""
    crc = zlib.crc32(blob[-TAIL_BYTES:], zlib.crc32(packed))
    return PREFIX.pack(MAGIC, len(packed), len(blob), crc) + packed + blob


def make_stream(generator: random.Random) -> tuple[bytes, int]:
    """A stream, and how many frames at its start are undamaged."""
    if generator.random() < LARGE_SHARE:
        return frame_of(large_header(generator)), 0
    kind = generator.randrange(10)
    if kind == 0:
        return generator.randbytes(generator.randint(0, 200)), 0
    if kind == 1:
        return MAGIC + generator.randbytes(generator.randint(0, 40)), 0
    if kind == 2:
        noise = generator.randbytes(generator.randint(0, 40))
        return frame_of(generator.choice((b"", b"\x81\xa4kind", b"\x82\xa1k")) + noise, noise), 0
    if kind < 7:
        odd = [frame_of(odd_header(generator)) for _ in range(generator.randint(1, 2))]
        return b"".join(odd), 0
    frames = [sound_frame(generator) for _ in range(generator.randint(1, 3))]
    return damaged(frames, generator)


def sound_frame(generator: random.Random) -> bytes:
    """A frame as a host or a controller sends it."""
    blob = generator.randbytes(generator.choice((0, 0, 0, 4, 64, 5000)))
    header = generator.choice(REPLIES)
    return encode_frame(header, blob) + blob


def damaged(frames: list[bytes], generator: random.Random) -> tuple[bytes, int]:
    """The frames with some bytes changed, lost, doubled or slipped in; or as they were."""
    whole = b"".join(frames)
    data = bytearray(whole)
    for _ in range(generator.choice((0, 1, 1, 1, 2, 5))):
        start = generator.randrange(len(data) + 1)
        end = min(len(data), start + generator.choice((1, 1, 2, 4, 16, 300)))
        change = generator.randrange(7)
        if change == 0:
            data[start:] = b""
        elif change == 1:
            data[start:end] = b""
        elif change == 2:
            data[start:start] = data[start:end]
        elif change == 3:
            data[start:start] = sound_frame(generator)[: generator.randint(1, 60)]
        elif change == 4:
            data[start:end] = generator.randbytes(end - start)
        elif change == 5:  # a length or the CRC of the first frame
            number = generator.choice((0, 1, 15, 2**20, 2**20 + 1, 2**31, 2**32 - 1))
            field = generator.choice((4, 8, 12))
            data[field : field + 4] = struct.pack(">I", number)
        elif start < len(data):
            data[start] ^= 1 << generator.randrange(8)
        if not data:
            break
    ends = [sum(map(len, frames[: count + 1])) for count in range(len(frames))]
    return bytes(data), sum(data[:end] == whole[:end] for end in ends)


def odd_header(generator: random.Random) -> bytes:
    """A reply's header, packed by hand, with fields changed, lost, doubled or added."""
    reply = generator.choice(REPLIES)
    pairs = [(msgpack.packb(key), msgpack.packb(value)) for key, value in reply.items()]
    for _ in range(generator.choice((0, 1, 1, 2))):
        at = generator.randrange(len(pairs))
        key, value = pairs[at]
        change = generator.randrange(5)
        if change == 0:
            pairs.insert(at, (key, generator.choice((value, odd_value(generator)))))
        elif change == 1 and len(pairs) > 1:
            del pairs[at]
        elif change == 2:
            pairs[at] = (odd_value(generator), value)
        else:
            pairs[at] = (key, odd_value(generator))
    count = len(pairs) + generator.choice((0,) * 20 + (1, -1))
    packed = b"".join(key + value for key, value in pairs)
    head = generator.choice((bytes([0x80 + count]), b"\xdf" + struct.pack(">I", count)))
    return head + packed + b"\x00" * (generator.random() < 0.02)


def odd_value(generator: random.Random, depth: int = 3) -> bytes:
    """One msgpack value: common, rare, nested, or broken."""
    kind = generator.randrange(10)
    if kind < 4:
        return bytes(msgpack.packb(generator.choice(ODD_SCALARS)))
    if kind < 6:
        return generator.choice(ODD_BYTES)
    if kind == 6:  # lengths that no stream keeps
        code, length = generator.randrange(0xC4, 0xE0), generator.choice((1, 255, 2**20, 2**32 - 1))
        return bytes([code]) + struct.pack(">I", length)[-generator.choice((1, 2, 4)) :]
    if kind == 7:
        levels = generator.choice((1, 2, 5, 10) * 6 + (400, 1_000, 1_100))
        return generator.choice((b"\x91", b"\x81\xa1k", b"\xdc\x00\x01")) * levels + b"\xc0"
    count = generator.randrange(4) if depth else 0
    inside = b"".join(odd_value(generator, depth - 1) for _ in range(count))
    if kind == 8:
        return bytes([0x90 + count]) + inside
    keys = [generator.choice((b"\xa1k", b"\xa1l", b"\xc4\x01k", b"\x01")) for _ in range(count)]
    values = [odd_value(generator, depth - 1) for _ in range(count)]
    return bytes([0x80 + count]) + b"".join(map(b"".join, zip(keys, values, strict=True)))


def large_header(generator: random.Random) -> bytes:
    """A header of nearly 1 MiB, or a short one that announces as much."""
    room = MAX_HEADER_BYTES - 16
    many = struct.pack(">I", room)
    filling = generator.choice(
        (b"\x90", b"\x80", b"\xc0", b"\x81\xa0\x90", b"\xa2ab", b"\xd4\x05x")
    )
    inside = generator.choice(
        (
            b"\xdd" + struct.pack(">I", room // len(filling)) + filling * (room // len(filling)),
            (b"\xdd" + many) * 1_000 + bytes(room - 5_000),
            (b"\xdd" + many) * 1_000,
            b"\xdb" + many + b"a" * (room - 4) + "𝔘".encode(),
            b"\xdb" + many + "𝔘".encode() * (room // 4),
            b"\xc6" + many + bytes(room),
        )
    )
    return b"\x81\xa4kind" + inside
