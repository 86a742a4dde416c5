"""The matrix: every fault, every phase in which it can happen, and how it must end.

A fault is a function in saboteur/; what befalls a whole run is in test_runs.py and
test_envs.py. The phases:

env         while a new env is proved: the worker module is imported for the first time
spawn       before a line of ours has run: a .pth file of the env, as a broken package brings it
hello       in the host, before it has said hello
load        in load()
transcribe  in transcribe()
idle        after a reply, while nothing is asked
shutdown    while the worker ends, as it was asked to
"""

from __future__ import annotations

from dataclasses import dataclass

PHASES = "env spawn hello load transcribe idle shutdown".split()
# what a journal calls them: before the hello no model is to blame, whoever it is
RECORDED = {phase: phase for phase in PHASES} | {"hello": "spawn"}


@dataclass(frozen=True)
class Cell:
    """One fault in one phase.

    seen in: "row" the row of the model or snippet that it was done to; "end" a line that says how
    the worker ended while nothing was asked; "next" the snippet after it, whose second try is ok.
    """

    fault: str
    phase: str
    outcome: str
    words: str  # in the error
    recorded: str  # the phase that is recorded
    seen_in: str = "row"
    world: str = ""  # what else is different: cgroup, no-cgroup, slow-disk
    hangs: bool = False  # it does not end by itself
    limited: bool = False  # it needs a limit of memory

    @property
    def name(self) -> str:
        """Of its model or clip, and of its test."""
        return "-".join([self.phase, self.fault, *([self.world] if self.world else [])])


CELLS: list[Cell] = []
LASTING = "hang hang_with_gil busy_loop stopped stdout_flood stderr_flood".split()


def _ends(outcome: str, words: str, faults: str, phases: str, **more: str) -> None:
    for fault in faults.split():
        for phase in phases.split():
            default = "end" if phase in ("idle", "shutdown") and outcome != "ok" else "row"
            seen_in = more.get("seen_in", default)
            quiet = outcome == "ok" or seen_in == "next"
            CELLS.append(
                Cell(
                    fault,
                    phase,
                    outcome,
                    words,
                    more.get("recorded", "transcribe" if quiet else RECORDED[phase]),
                    seen_in,
                    more.get("world", "slow-disk" if phase in ("idle", "transcribe") else ""),
                    hangs=outcome == "timed_out" or fault in LASTING,
                    limited=fault in ("memory", "childs_memory"),
                )
            )


ASKED = "spawn hello load transcribe"
EVERY = ASKED + " idle shutdown"

# it ends
_ends("crashed", "SIGSEGV", "segfault", EVERY)
_ends("crashed", "SIGSEGV", "litter", EVERY)
_ends("crashed", "SIGABRT", "abort", EVERY)
_ends("crashed", "SIGKILL", "killed", EVERY)
_ends("crashed", "exited with status 0", "exit_0", ASKED + " idle")
_ends("crashed", "exited with status 0", "exit_unsent", "load transcribe")

# it raises
_ends("failed", "ValueError: the saboteur raised", "exception", "load transcribe")
_ends("failed", "cannot be printed", "unprintable", "load transcribe")
_ends("out_of_memory", "MemoryError", "memory_error", "load transcribe")
_ends("crashed", "the saboteur raised", "exception", "hello")
_ends("crashed", "MemoryError", "memory_error", "hello")
_ends("ok", "", "exception memory_error", "spawn idle shutdown")  # Python itself goes on
_ends("crashed", "SystemExit: 7", "system_exit", "spawn")
_ends("crashed", "exited with status 7", "system_exit", "hello load transcribe")

# it hangs
_ends("timed_out", "no answer in time", "hang hang_with_gil busy_loop deaf stderr_flood", ASKED)
_ends("timed_out", "it is stopped", "stopped", ASKED)
_ends("timed_out", "no answer in time", "stdout_flood", "hello load transcribe")
_ends("protocol_error", "expected a frame", "stdout_flood", "spawn")
_ends("ok", "", "busy_loop stdout_flood stderr_flood", "idle")
_ends("timed_out", "no answer in time", "hang_with_gil", "idle", seen_in="next")
_ends("timed_out", "it is stopped", "stopped", "idle", seen_in="next")
_ends("timed_out", "did not end", "hang hang_with_gil busy_loop deaf stopped", "shutdown")
_ends("timed_out", "did not end", "stdout_flood stderr_flood", "shutdown")

# it starts others
for phase in EVERY.split():
    _ends("crashed", "exited with status 3", "pipe_holder fork_bomb", phase)
    _ends("ok", "", "daemon", phase)
    _ends("ok", "", "bare_daemon", phase, world="cgroup")
for phase in (ASKED + " shutdown").split():
    _ends("crashed", "exited with status 3", "pipe_holder fork_bomb", phase, world="no-cgroup")
    _ends("ok", "", "daemon", phase, world="no-cgroup")

# it takes memory
_ends("out_of_memory", "limit of 250 MB", "memory", EVERY)
_ends("out_of_memory", "limit of 250 MB", "childs_memory", "load transcribe")
for phase in (ASKED + " shutdown").split():
    _ends("out_of_memory", "limit of 250 MB", "memory childs_memory", phase, world="no-cgroup")

# what it returns
_ends("failed", "TypeError: transcribe() returned int", "number", "transcribe")
_ends("failed", "the transcript has 52428800 characters", "long_text", "transcribe")
_ends("failed", "UnicodeEncodeError", "surrogate", "transcribe")
_ends("protocol_error", "details.confidence", "nan_detail", "load transcribe")

# what it puts on the pipe
_ends("protocol_error", "expected a frame", "noise", ASKED + " idle")
_ends("ok", "", "noise", "shutdown")
_ends("crashed", "exited with status 3", "half_frame_death", EVERY)
_ends("timed_out", "no answer in time", "half_frame_silence", ASKED)
_ends("protocol_error", "broke the protocol", "half_frame_silence", "idle", seen_in="next")
_ends("protocol_error", "over the limit", "huge_length huge_frame", ASKED + " idle")
_ends("protocol_error", "CRC", "wrong_crc", ASKED + " idle")
_ends("protocol_error", "not a map", "no_map", ASKED + " idle")
_ends("protocol_error", "not msgpack", "invalid_utf8", ASKED + " idle")
_ends("protocol_error", "strange", "wrong_kind", ASKED)
_ends("protocol_error", "'audio'", "request_kind", ASKED)
_ends("protocol_error", "extra", "extra_field", ASKED)
_ends("protocol_error", "kind", "missing_field", ASKED)
_ends("protocol_error", "does not fit", "nan", ASKED)
_ends("protocol_error", "'another'", "wrong_snippet", "transcribe")
_ends("protocol_error", "with 7 samples", "fewer_samples", "transcribe")
_ends("timed_out", "in time", "partials", "transcribe")
_ends("protocol_error", "'hello' out of turn", "twice", "spawn hello", recorded="load")
_ends("protocol_error", "'loaded' out of turn", "twice", "load")
_ends(
    "protocol_error", "nobody asked for", "twice", "transcribe",
    seen_in="end", recorded="idle",
)  # fmt: skip
_ends("protocol_error", "nobody asked for", "wrong_kind extra_field twice", "idle")

# all that can happen to an env while it is proved costs the model that needs it
for fault, words in {
    "segfault": "SIGSEGV",
    "abort": "SIGABRT",
    "killed": "SIGKILL",
    "exit_0": "exited with status 0",
    "exception": "ValueError: the saboteur raised",
    "memory_error": "MemoryError",
    "system_exit": "exited with status 7",
    "hang": "no answer in time",
    "hang_with_gil": "no answer in time",
    "stopped": "it is stopped",
    "stderr_flood": "no answer in time",
    "pipe_holder": "exited with status 3",
    "fork_bomb": "exited with status 3",
    "noise": "expected a frame",
    "half_frame_death": "exited with status 3",
    "wrong_crc": "CRC",
    "extra_field": "extra",
}.items():
    _ends("failed", words, fault, "env")
