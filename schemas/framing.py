"""Frames on a pipe: prefix, msgpack header, raw blob.

    magic 4 bytes | header length u32 | blob length u32 | CRC-32 u32
    header: one msgpack map | blob: raw bytes, may be empty          (numbers are big-endian)

Audio travels in the blob because packing it inside msgpack costs two to three times as much.
The magic and the CRC turn anything else on the pipe into a FramingError instead of a hang or a
wrong text; lengths are capped before anything is allocated. Runs on Python 3.9 with msgpack.

The values of all but short headers are counted before msgpack sees them: one byte can stand for an
empty map, which takes seventy, and five for a list of a million, whose room some versions of
msgpack take at once.

The CRC is over the header and the last 4 KiB of the blob. Bytes that are lost or slipped in shift
that tail. A pipe does not alter bytes in place, and only the controller can write to the pipe that
carries blobs; a CRC over all of it would more than double the time that a frame takes.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Callable, Dict, List, Optional, Protocol, Tuple  # noqa: UP035

import msgpack

MAGIC = b"\xa5ASR"
PREFIX = struct.Struct(">4sIII")
MAX_HEADER_BYTES = 1 << 20
MAX_BLOB_BYTES = 1 << 20
UNCOUNTED_BYTES = 512  # a header of this size can ask for 1 MiB at most, so counting can wait
MAX_VALUES = 10_000  # keys count too; a message has a few dozen, and its lists some hundred more
TAIL_BYTES = 1 << 12

# what follows a msgpack type byte from 0xc0 to 0xdf; all others hold their own length or value
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8}  # nil, booleans, floats: bytes
_FIXED.update({0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8})  # integers
_FIXED.update({0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17})  # extensions, with their type
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes, texts: length's bytes
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}  # the same, and a type
_VALUES = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}  # lists, maps: values for each

Header = Dict[str, Any]  # noqa: UP006
Place = Callable[[Header, int], memoryview]


class FramingError(Exception):
    """What is on the pipe is not a frame."""


class Readable(Protocol):
    """An unbuffered binary stream."""

    def readinto(self, buffer: memoryview, /) -> Optional[int]:  # noqa: UP045
        """Read up to len(buffer) bytes; 0 at the end."""
        ...


def encode_frame(header: Header, blob: memoryview | bytes = b"") -> bytes:
    """Everything that goes before the blob on the wire. FramingError if a part is too large."""
    packed: bytes = msgpack.packb(header, use_bin_type=True)
    if len(packed) > MAX_HEADER_BYTES:
        raise FramingError(f"header of {len(packed)} bytes is over {MAX_HEADER_BYTES}")
    if len(packed) > MAX_VALUES:  # a shorter one has no room for so many
        _check_values(packed)
    if len(blob) > MAX_BLOB_BYTES:
        raise FramingError(f"blob of {len(blob)} bytes is over {MAX_BLOB_BYTES}")
    crc = _crc(packed, blob)
    return PREFIX.pack(MAGIC, len(packed), len(blob), crc) + packed


def read_frame(stream: Readable, place: Place | None = None) -> Tuple[Header, memoryview] | None:  # noqa: UP006
    """The next frame, or None at a clean end of the stream.

    place(header, length) gives the memory that a blob is read into; without it a fresh buffer.
    The CRC is checked after the blob was placed: on FramingError that memory holds rubbish.
    """
    prefix = memoryview(bytearray(PREFIX.size))
    if not _fill(stream, prefix, at_boundary=True):
        return None
    magic, header_length, blob_length, crc = PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise FramingError(f"expected a frame, found {bytes(prefix)!r}")
    if header_length > MAX_HEADER_BYTES or blob_length > MAX_BLOB_BYTES:
        raise FramingError(f"frame announces {header_length} + {blob_length} bytes, over the limit")
    packed = memoryview(bytearray(header_length))
    _fill(stream, packed)
    header = _unpack(packed)
    if blob_length and place is not None:
        blob = place(header, blob_length)
    else:
        blob = memoryview(bytearray(blob_length))
    _fill(stream, blob)
    if _crc(packed, blob) != crc:
        raise FramingError("frame is damaged: its CRC does not match")
    return header, blob


def _crc(packed: memoryview | bytes, blob: memoryview | bytes) -> int:
    return zlib.crc32(blob[-TAIL_BYTES:], zlib.crc32(packed))


def _check_values(packed: memoryview | bytes) -> None:
    """FramingError if it announces too many."""
    at, waiting, allowed = 0, 1, MAX_VALUES - 1
    while waiting and at < len(packed):
        code = packed[at]
        at, waiting = at + 1, waiting - 1
        if 0xA0 <= code < 0xC0:
            at += code - 0xA0
        elif 0x80 <= code < 0xE0:  # else it is a small number
            size, inside = _extent(code, packed, at)
            at, waiting, allowed = at + size, waiting + inside, allowed - inside
            if allowed < 0:
                raise FramingError(f"header announces over {MAX_VALUES} values")


def _extent(code: int, packed: memoryview | bytes, at: int) -> Tuple[int, int]:  # noqa: UP006
    """How many bytes belong to the type byte before `at`, and how many values follow them."""
    if code < 0xA0:
        return 0, 2 * (code - 0x80) if code < 0x90 else code - 0x90
    if code in _FIXED:
        return _FIXED[code], 0
    if code in _BYTES:
        return _BYTES[code] + _number(packed, at, _BYTES[code]), 0
    if code in _EXTENSIONS:
        return _EXTENSIONS[code] + _number(packed, at, _EXTENSIONS[code]) + 1, 0
    if code in _VALUES:
        width, each = _VALUES[code]
        return width, _number(packed, at, width) * each
    return 0, 0  # 0xc1 is in use for nothing; msgpack will say so


def _number(packed: memoryview | bytes, at: int, width: int) -> int:
    return int.from_bytes(packed[at : at + width], "big")


def _map(pairs: List[Tuple[str, Any]]) -> Header:  # noqa: UP006
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a map has the same key twice")
    return found


def _unpack(packed: memoryview) -> Header:
    if len(packed) > UNCOUNTED_BYTES:
        _check_values(packed)
    try:
        header = msgpack.unpackb(packed, raw=False, strict_map_key=True, object_pairs_hook=_map)
    except (ValueError, msgpack.UnpackException) as error:
        raise FramingError(
            f"header is not msgpack: {str(error) or type(error).__name__}"
        ) from error
    if not isinstance(header, dict):
        raise FramingError(f"header is a {type(header).__name__}, not a map")
    return header


def _fill(stream: Readable, view: memoryview, at_boundary: bool = False) -> bool:
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])
        if not count:
            if at_boundary and filled == 0:
                return False
            raise FramingError(f"stream ended {len(view) - filled} bytes before the frame did")
        filled += count
    return True
