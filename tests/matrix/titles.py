"""The faults' names for people, in the order of the table."""

from __future__ import annotations

TITLES = {
    "segfault": "segmentation fault, in C",
    "litter": "segmentation fault; temporary files left",
    "abort": "abort()",
    "killed": "SIGKILL from outside",
    "exit_0": "os._exit(0)",
    "exit_unsent": "exit after the answer is made, before it is sent",
    "system_exit": "sys.exit(7)",
    "exception": "Python exception",
    "unprintable": "exception whose text raises",
    "memory_error": "MemoryError",
    "hang": "hang in Python",
    "hang_with_gil": "hang in C with the GIL held",
    "busy_loop": "busy loop",
    "stopped": "SIGSTOP from outside",
    "deaf": "hang, SIGTERM and SIGABRT ignored",
    "stdout_flood": "endless stdout",
    "stderr_flood": "endless stderr",
    "pipe_holder": "death; a grandchild holds the pipes",
    "fork_bomb": "death; 200 children in sessions of their own",
    "daemon": "a daemon by double fork and setsid",
    "bare_daemon": "a daemon with an empty environment",
    "memory": "memory over the limit",
    "childs_memory": "memory over the limit in a grandchild",
    "number": "a number for a text",
    "long_text": "a transcript of 50 MB",
    "surrogate": "half a surrogate pair",
    "nan_detail": "NaN in the model's details",
    "noise": "noise before or between frames",
    "half_frame_death": "half a frame, then death",
    "half_frame_silence": "half a frame, then silence",
    "huge_length": "a frame that announces 4 GB",
    "huge_frame": "a frame of 50 MB",
    "wrong_crc": "wrong CRC",
    "no_map": "a header that is no map",
    "invalid_utf8": "invalid UTF-8",
    "wrong_kind": "unknown kind",
    "request_kind": "a request for a reply",
    "extra_field": "extra field",
    "missing_field": "missing field",
    "nan": "NaN in a reply",
    "wrong_snippet": "another snippet's id",
    "fewer_samples": "another count of samples",
    "partials": "endless partial texts",
    "twice": "a reply twice",
    "unbuildable": "env build fails",
    "interrupted": "env build interrupted: Ctrl-C, SIGKILL",
    "raced": "env build raced by two controllers",
    "fill_disk": "disk full while journaling",
    "delete_run": "run folder deleted",
    "clock": "clock set by hours, again and again",
}
WITHOUT_CGROUP = ", no cgroup"


def title(fault: str, world: str = "") -> str:
    """A row of the table."""
    return TITLES[fault] + (WITHOUT_CGROUP if world == "no-cgroup" else "")


def rank(row: str) -> tuple[int, str]:
    """Its place."""
    return list(TITLES.values()).index(row.removesuffix(WITHOUT_CGROUP)), row
