"""A worker's log: whole in its file up to a limit, short in its tail."""

from __future__ import annotations

import os

import pytest
from rogue_hosts import LIMIT_S

from orchestrator.supervisor.log import MAX_FILE_BYTES, TAIL_LINES, LogPump


@pytest.fixture
def pump(tmp_path):
    """Run bytes through a pipe into a log; the ended LogPump and its file."""

    def go(data):
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as stream:
            one = LogPump(stream, (tmp_path / "log.txt").open("ab", buffering=0))
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(data)
            assert one.join(LIMIT_S)
        return one, tmp_path / "log.txt"

    return go


def printed(file):
    """A log without the lines that are asrbench's own."""
    lines = file.read_bytes().splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"[asrbench: "))


def test_a_log_is_whole_in_its_file_and_short_in_its_tail(pump):
    data = "".join(f"line {number} ü\n\n" for number in range(5_000)).encode()
    one, file = pump(data)
    assert printed(file) == data
    wanted = [f"line {number} ü" for number in range(5_000 - TAIL_LINES, 5_000)]
    assert one.tail().splitlines() == wanted


def test_a_log_is_appended_to(pump, tmp_path):
    (tmp_path / "log.txt").write_bytes(b"before\n")
    assert printed(pump(b"after\n")[1]) == b"before\nafter\n"


def test_a_flood_is_drained_cut_once_and_still_has_its_tail(pump):
    one, file = pump(b"x" * 99 + b"\n" + b"y" * (MAX_FILE_BYTES + (4 << 20)) + b"\nlast words\n")
    assert MAX_FILE_BYTES < file.stat().st_size < MAX_FILE_BYTES + 200
    assert file.read_bytes().count(b"asrbench: this log is cut here") == 1
    assert one.tail().splitlines()[-1] == "last words"
    assert all(len(line) <= 500 for line in one.tail().splitlines())


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J end",
        bytes(range(256)) * 300 + b" end",
        "\u202eevil\u202c \u200b \x9b31m end".encode(),
        "€".encode() * 40_000 + b" end",  # a chunk may begin inside a letter
        b"10%\r20%\r30% end",
    ],
)
def test_a_tail_can_be_shown_on_a_terminal(pump, data):
    tail = pump(data)[0].tail()
    if len(data) < 1_000:
        assert tail.endswith("end")
    assert all(char.isprintable() or char in "\n\t" for char in tail)
    assert tail.encode("utf-8")


def test_nothing_printed_is_an_empty_tail(pump):
    assert pump(b"")[0].tail() == ""
