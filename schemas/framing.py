"""Frames on a pipe: prefix, msgpack header, raw blob.

    magic 4 bytes | header length u32 | blob length u32 | CRC-32 u32
    header: one msgpack map | blob: raw bytes, may be empty          (numbers are big-endian)

Audio travels in the blob because packing it inside msgpack costs two to three times as much.
The magic and the CRC turn anything else on the pipe into a FramingError instead of a hang or a
wrong text; lengths are capped before anything is allocated. Runs on Python 3.9 with msgpack.

The CRC is over the header and the last 4 KiB of the blob. Bytes that are lost or slipped in shift
that tail. A pipe does not alter bytes in place, and only the controller can write to the pipe that
carries blobs; a CRC over all of it would more than double the time that a frame takes.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Callable, Dict, Optional, Protocol, Tuple  # noqa: UP035

import msgpack

MAGIC = b"\xa5ASR"
PREFIX = struct.Struct(">4sIII")
MAX_HEADER_BYTES = 1 << 20
MAX_BLOB_BYTES = 1 << 20
TAIL_BYTES = 1 << 12

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


def _unpack(packed: memoryview) -> Header:
    try:
        header = msgpack.unpackb(packed, raw=False, strict_map_key=True)
    except (ValueError, msgpack.UnpackException) as error:
        raise FramingError(f"header is not msgpack: {error}") from error
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
