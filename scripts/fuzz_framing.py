"""Feed rubbish to the frame reader and to the validation of replies, at length.

    python scripts/fuzz_framing.py [--inputs 1000000] [--seed 0]

An input is a stream: random bytes; rubbish with the right lengths and CRC around it, so that it
gets as far as msgpack; replies with odd fields; or sound frames that were damaged. It arrives in
slices of random size. What must hold:

- read_frame returns a frame or raises FramingError; `validated` returns a reply or raises a
  ValueError that names the field. Nothing else is raised, and messages are short.
- A frame that is returned is one: magic, lengths, CRC and header agree with a second look at the
  bytes, no key comes twice, and the next frame is looked for right behind it. Frames before
  the damage all arrive.
- A reply that is returned says what its header says, type by type.
- Memory stays under MAX_PEAK_BYTES, whatever the input announces, and nothing is printed.

Prints counts, the highest memory and every violation with its input; exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import msgpack
from fuzz_inputs import frame_of, make_stream

from orchestrator.supervisor.replies import validated
from schemas import messages
from schemas.framing import (
    MAGIC,
    MAX_BLOB_BYTES,
    MAX_HEADER_BYTES,
    MAX_VALUES,
    PREFIX,
    FramingError,
    Header,
    Readable,
    read_frame,
)

# A text of ASCII with one rare character takes four bytes for each of its own, and the ASCII is
# held beside it while it grows (on Windows with half as much to spare); 250 bytes hold a value.
UNPACKING_BYTES = 7 * MAX_HEADER_BYTES + 250 * MAX_VALUES
MAX_PEAK_BYTES = MAX_HEADER_BYTES + MAX_BLOB_BYTES + UNPACKING_BYTES
MAX_MESSAGE_CHARS = 1_000

Frame = tuple[Header, memoryview]
_T = TypeVar("_T")


class Violation(Exception):  # noqa: N818 what the fuzzing is for, not an error in it
    """The reader or the validation did what it must not."""


class Slices:
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, generator: random.Random) -> None:
        self._data = memoryview(data)
        self._generator = generator
        self._most = max(len(data) // 2, 1) if generator.random() < 0.9 else 1 + len(data) // 100
        self._calls_left = len(data) + 2
        self.at = 0

    def readinto(self, buffer: memoryview, /) -> int:
        """See schemas.framing.Readable."""
        self._calls_left -= 1
        if self._calls_left < 0:
            raise Violation("reads on after the end")
        most = min(len(buffer), 1 + int(self._generator.random() * self._most))
        piece = self._data[self.at : self.at + most]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


class Subject:
    """What is fuzzed, and the most memory that one call of it took. Needs tracemalloc started."""

    def __init__(
        self,
        read: Callable[[Readable], Frame | None] = read_frame,
        judge: Callable[[Header], messages.Reply] = validated,
    ) -> None:
        self._read, self._judge = read, judge
        self.highest_bytes = 0

    def read(self, stream: Readable) -> Frame | None:
        """read_frame."""
        return self._measured(self._read, stream)

    def judge(self, header: Header) -> messages.Reply:
        """Validated."""
        return self._measured(self._judge, header)

    def _measured(self, call: Callable[[Any], _T], argument: Any) -> _T:
        tracemalloc.reset_peak()
        before_bytes, _ = tracemalloc.get_traced_memory()
        try:
            return call(argument)
        finally:
            peak_bytes = tracemalloc.get_traced_memory()[1] - before_bytes
            self.highest_bytes = max(self.highest_bytes, peak_bytes)
            if peak_bytes > MAX_PEAK_BYTES:
                raise Violation(f"took {peak_bytes:,} bytes")


# --- the check -----------------------------------------------------------------------------


def check(data: bytes, sound: int, generator: random.Random, subject: Subject) -> str:
    """Read a stream to its end and say what it was; Violation if something above does not hold.

    sound: how many frames at its start are undamaged and must arrive.
    """
    stream, frames, replies = Slices(data, generator), 0, 0
    while True:
        start = stream.at
        try:
            frame = subject.read(stream)
        except FramingError as error:
            if frames < sound:
                raise Violation(f"refused sound frame {frames}: {error}") from error
            if not 0 < len(str(error)) <= MAX_MESSAGE_CHARS:
                raise Violation(f"a message of {len(str(error))} characters") from error
            return "FramingError" + (" after frames" if frames else "")
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"read_frame raised {error!r:.500}") from error
        if frame is None:
            if start < len(data) or frames < sound:
                raise Violation(f"took byte {start} of {len(data)} for the end")
            return "replies only" if frames == replies else "frames, some no reply"
        _check_frame(data[start : stream.at], *frame)
        frames += 1
        replies += _is_reply(frame[0], subject)


def _check_frame(data: bytes, header: Header, blob: memoryview) -> None:
    magic, header_length, blob_length, _ = PREFIX.unpack_from(data)
    packed = data[PREFIX.size : PREFIX.size + header_length]
    rest = data[PREFIX.size + header_length :]
    if magic != MAGIC or len(rest) != blob_length or data != frame_of(packed, rest):
        raise Violation("took for a frame what is none")
    again = msgpack.unpackb(packed, raw=False, object_pairs_hook=_once)
    if bytes(blob) != rest or not isinstance(header, dict) or not _same(header, again):
        raise Violation("returned another frame than was sent")


def _once(pairs: list[tuple[str, Any]]) -> Header:
    if len(dict(pairs)) < len(pairs):
        raise Violation("took one of two values with the same key")
    return dict(pairs)


def _is_reply(header: Header, subject: Subject) -> bool:
    try:
        reply = subject.judge(header)
    except ValueError as error:
        if len(str(error)) > MAX_MESSAGE_CHARS or not re.match(r"\w.*: ", str(error)):
            raise Violation(f"does not say briefly which field: {error!s:.500}") from error
        return False
    except Violation:
        raise
    except Exception as error:
        raise Violation(f"validated raised {error!r:.500}") from error
    if not _same(header, vars(reply)):
        raise Violation(f"understood {reply!r:.500}")
    return True


def _same(one: Any, other: Any) -> bool:
    """Equal in value and type, down to any depth, where == and repr() give up."""
    waiting = [(one, other)]
    while waiting:
        one, other = waiting.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, dict):
            if one.keys() != other.keys():
                return False
            waiting += [(one[key], other[key]) for key in one]
        elif isinstance(one, list):
            if len(one) != len(other):
                return False
            waiting += zip(one, other, strict=True)
        elif repr(one) != repr(other):  # NaN is not equal to itself
            return False
    return True


# --- the run -------------------------------------------------------------------------------


def run(inputs: int, seed: int, subject: Subject) -> int:
    """Do it, print it, return how many violations there were."""
    generator = random.Random(seed)
    counts: Counter[str] = Counter()
    violations, start = 0, time.perf_counter()
    printed: list[object] = []
    hook, sys.unraisablehook = sys.unraisablehook, printed.append
    tracemalloc.start()
    for number in range(inputs):
        data, sound = make_stream(generator)
        try:
            counts[check(data, sound, generator, subject)] += 1
            if printed:
                raise Violation(f"printed {printed.pop()!r:.500}")  # noqa: TRY301
        except Violation as violation:
            violations += 1
            print(f"violation at input {number}: {violation}\n{data.hex()}")
    tracemalloc.stop()
    sys.unraisablehook = hook
    print(f"{inputs:,} inputs (seed {seed}) in {time.perf_counter() - start:.0f} s")
    for what, count in counts.most_common():
        print(f"{count:>12,}  {what}")
    print(f"highest memory {subject.highest_bytes:,} bytes of {MAX_PEAK_BYTES:,} allowed")
    print(f"{violations:,} violations")
    return violations


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=1_000_000, help="default 1,000,000")
    parser.add_argument("--seed", type=int, default=0, help="another one for other inputs")
    arguments = parser.parse_args()
    return 1 if run(arguments.inputs, arguments.seed, Subject()) else 0


if __name__ == "__main__":
    sys.exit(main())
