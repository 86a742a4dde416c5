"""Linux: what the kernel said of a process, where this user may read its log."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

KMSG = Path("/dev/kmsg")
RECORD_BYTES = 8192
MAX_RECORDS = 100_000
MAX_LINES = 5
CLOCK_SLACK_S = 1.0  # the log's clock is not quite the monotonic one


def kernel_lines(pids: Collection[int], since: float, kmsg: Path = KMSG) -> list[str]:
    """The last lines that name one of these processes: segfaults, out-of-memory kills, GPU faults.

    since: time.monotonic() of their start; process ids are used again, and lines of an earlier one
    would be false evidence. Source: Documentation/ABI/testing/dev-kmsg: one record per read,
    "priority,number,µs since boot,flags;text".
    """
    if not pids:
        return []
    number = "|".join(str(pid) for pid in sorted(pids))
    names = re.compile(rf"(?:\[|\bprocess |\bpid[ =:]*)(?:{number})(?:\b|\])", re.IGNORECASE)
    found = []
    for record in _records(kmsg):
        head, _, text = record.partition("\n")[0].partition(";")
        stamp = head.split(",")[2:3]
        if not stamp or not stamp[0].isdigit() or int(stamp[0]) / 1e6 < since - CLOCK_SLACK_S:
            continue
        if names.search(text):
            found.append(text[:500])
    return found[-MAX_LINES:]


def _records(kmsg: Path) -> list[str]:
    try:
        handle = os.open(kmsg, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # dmesg is for administrators here
        return []
    records: list[str] = []
    try:
        while len(records) < MAX_RECORDS:
            try:
                record = os.read(handle, RECORD_BYTES)
            except BrokenPipeError:  # overwritten while we read: the next one is there
                continue
            if not record:
                break
            records.append(record.decode("utf-8", "replace"))
    except OSError:  # nothing more for now
        pass
    finally:
        os.close(handle)
    return records
