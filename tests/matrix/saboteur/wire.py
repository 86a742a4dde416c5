"""Frames as the host makes them, to be made wrong. Knows nothing of schemas/: it must not agree."""

import os
import stat
import struct
import zlib

import msgpack

MAGIC = b"\xa5ASR"


class Scene:
    """What the host would say next, and the pipe on which it would say it."""

    def __init__(self, kind, pipe=None, a_number=None, **fields):
        self.fields = {**fields, "kind": kind}
        self.a_number = a_number  # name of a field that holds one
        self._pipe = pipe
        self.happened = lambda: None

    def header(self, without=None, **changes):
        fields = {**self.fields, **changes}
        fields.pop(without, None)
        return msgpack.packb(fields)

    def packed(self, header):
        return self.prefix(len(header), zlib.crc32(header)) + header

    def frame(self, without=None, **changes):
        return self.packed(self.header(without, **changes))

    def prefix(self, length, crc):
        return struct.pack(">4sIII", MAGIC, length, 0, crc)

    def write(self, data):
        view = memoryview(data)
        pipe = replies_pipe() if self._pipe is None else self._pipe
        while view:
            view = view[os.write(pipe, view) :]


def replies_pipe():
    """The host's private end of the pipe to the controller; before there is a host, stdout."""
    import fcntl  # not on Windows

    for fd in range(3, 30):
        try:
            is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
        except OSError:
            continue
        if is_pipe and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            return fd
    return 1
