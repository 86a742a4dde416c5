"""What a worker prints: drained by a thread, written to a file up to a limit, its tail at hand.

An undrained pipe would block the worker after 64 KB; an endless one would fill the disk.
"""

from __future__ import annotations

import collections
import io
import threading
import time

from orchestrator.platforms import ByteStream

MAX_FILE_BYTES = 16 << 20
TAIL_BYTES = 32 << 10
TAIL_LINES = 15
CHUNK_BYTES = 64 << 10


class LogPump:
    """Copies one worker's stderr to the end of a log file until the pipe closes."""

    def __init__(self, stream: ByteStream, file: io.FileIO) -> None:
        self._stream = stream
        self._file = file
        self._tail: collections.deque[bytes] = collections.deque()
        self._tail_bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="log pump", daemon=True)
        self._thread.start()

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines, as text that a terminal can show."""
        with self._lock:
            text = b"".join(self._tail).decode("utf-8", "replace")
        found = [_printable(line) for line in text.splitlines() if line.strip()]
        return "\n".join(found[-lines:])

    def join(self, timeout_s: float) -> bool:
        """Wait for the pipe's end; False if a process that escaped still holds it."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        room = MAX_FILE_BYTES
        self._write(
            f"[asrbench: a worker starts, {time.strftime('%Y-%m-%d %H:%M:%S')}]\n".encode(), room
        )
        buffer = bytearray(CHUNK_BYTES)
        with self._file:
            while True:
                try:
                    count = self._stream.readinto(memoryview(buffer))
                except (OSError, ValueError):  # closed under us
                    return
                if not count:
                    return
                chunk = bytes(buffer[:count])
                self._keep(chunk)
                room = self._write(chunk, room)

    def _write(self, chunk: bytes, room: int) -> int:
        if room <= 0:
            return room
        try:
            self._file.write(chunk[:room])
            if len(chunk) >= room:
                self._file.write(b"\n[asrbench: this log is cut here, the worker printed on]\n")
        except OSError:  # a full disk must not stop the draining
            return 0
        return room - len(chunk)

    def _keep(self, chunk: bytes) -> None:
        with self._lock:
            self._tail.append(chunk)
            self._tail_bytes += len(chunk)
            while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
                self._tail_bytes -= len(self._tail.popleft())


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else "�" for char in line[:500])
