"""Where the samples of one snippet are received, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_PREALLOCATED_SAMPLES = 3 * 3600 * 16_000  # a header may promise anything


class AudioBuffer:
    """The samples of one snippet, received in place."""

    def __init__(self, samples_hint: int) -> None:
        self._array = np.empty(max(1, min(samples_hint, MAX_PREALLOCATED_SAMPLES)), np.float32)
        self._count = 0

    def tail(self, byte_count: int) -> memoryview:
        """Memory for the next block; FramingError's caller drops the buffer if it is damaged."""
        samples, odd = divmod(byte_count, 4)
        if odd:
            raise ValueError(f"{byte_count} bytes are not float32 samples")
        if self._count + samples > len(self._array):
            grown = np.empty(max(self._count + samples, 2 * len(self._array)), np.float32)
            grown[: self._count] = self._array[: self._count]
            self._array = grown
        start, self._count = self._count, self._count + samples
        return self._array[start : self._count].data.cast("B")

    def samples(self) -> Any:
        """What arrived, without a copy."""
        return self._array[: self._count]


class Waste:
    """In the place of a buffer that memory does not suffice for: the samples are thrown away."""

    def tail(self, byte_count: int) -> memoryview:
        """Memory for one block."""
        return memoryview(bytearray(byte_count))

    def samples(self) -> Any:
        """None, as they are not there."""
        return None
