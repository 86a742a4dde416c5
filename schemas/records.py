"""What is written to disk: the journal's lines. Controller only (pydantic).

A results row, a summary or a report is a pure function of these.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from schemas.messages import Details

Outcome = Literal["ok", "failed", "crashed", "out_of_memory", "timed_out", "protocol_error"]
Accelerator = Literal["cpu", "cuda", "rocm", "directml", "vulkan", "mps"]
# each file was compared with its hash; given by hand; or some other program fetched it
CheckpointProof = Literal["verified", "given", "unverified"]
Phase = Literal["env", "download", "spawn", "load", "decode", "transcribe", "idle", "shutdown"]


_RULES = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, **_RULES)


@dataclass(frozen=True, slots=True, config=_RULES)
class PlannedSnippet:
    """A snippet as it was asked for; its text travels with the run, so that it can be re-scored.

    Slots, because a plan may have many thousands: as a BaseModel each would take 1 KB more.
    """

    name: str
    reference: str
    clean_reference: str | None
    language: str
    duration_s: float | None
    sha256: str
    error: str | None


class PlannedModel(_Record):
    """A model as it was asked for."""

    name: str
    stack: str
    languages: tuple[str, ...]
    remote_code: bool = False  # runs code of its checkpoint, at a pinned revision


class Plan(_Record):
    """What a run was asked to do. A resumed run writes its own; the last one holds."""

    kind: Literal["plan"] = "plan"
    at: str
    models: tuple[PlannedModel, ...]
    snippets: tuple[PlannedSnippet, ...]
    snippet_set_sha256: str
    repeats: int = 1
    warm_up: bool = True
    batch: int | Literal["auto"] = 1


class CheckpointUsed(_Record):
    """Which files of a model were measured, and what speaks for them."""

    path: str
    proof: CheckpointProof
    commit: str | None = None  # of the hub's repository; None: given by hand
    verified_at: AwareDatetime | None = None  # when each file had the hash that the hub names


class ModelStarted(_Record):
    """A model's turn on one accelerator begins.

    Attempts under another key than that of the last one here, and those it keeps, are outdated.
    """

    kind: Literal["model_started"] = "model_started"
    at: str
    model: str
    key: str  # hash of everything but the snippet that could change the answer
    accelerator: Accelerator
    env: str
    lock_sha256: str
    checkpoint: CheckpointUsed | None = None  # None: it needs none; of older runs: not told
    variables: dict[str, str] = {}  # that tune its workers: the accelerator's, and the user's own
    fell_back: tuple[str, ...] = ()  # which better accelerators are not used, and why
    keeps: tuple[str, ...] = ()  # keys of the model's other accelerators: their answers hold, too


class LoadTimes(_Record):
    """From spawn to loaded by the controller's clock, in its parts."""

    total_s: float
    spawn_s: float  # the operating system starting the process
    interpreter_s: float  # until the host's hello
    imports_s: float  # the worker module and its libraries
    weights_s: float  # load()


Bound = Literal["exact", "lower", "upper", "unknown"]


class MemoryPeak(_Record):
    """Highest memory of a worker's process tree in a stretch of time.

    bound: "lower" if the truth may be higher (sampled, or held down by a limit), "upper" if it may
    be lower (page cache that the system could have dropped is in it), "unknown" if either.
    """

    peak_bytes: int
    method: str
    bound: Bound = "exact"
    cgroup_bytes: int | None = None  # the cgroup's own counter, page cache included
    uncharged_bytes: int | None = None  # mapped files that the cgroup does not pay for; is added
    high_water_bytes: int | None = None  # the kernel's own counter of the largest single process
    proportional_bytes: int | None = None  # highest sampled sum, each shared page counted once
    resident_bytes: int | None = None  # highest sampled sum of resident memory over the tree
    anon_bytes: int | None = None  # highest sampled anonymous and shared memory
    file_bytes: int | None = None  # highest sampled file-backed memory
    commit_bytes: int | None = None  # Windows: the job's own counter; no mapped files, not RAM


def peak_of_both(one: MemoryPeak | None, other: MemoryPeak | None) -> MemoryPeak | None:
    """The higher of two peaks; if the truth of the lower one may be higher still, so may this."""
    found = sorted(filter(None, (one, other)), key=lambda peak: peak.peak_bytes)
    if len(found) < 2 or found[0].bound not in ("lower", "unknown"):
        return found[-1] if found else None
    bounds: dict[Bound, Bound] = {"exact": "lower", "upper": "unknown"}
    return found[1].model_copy(update={"bound": bounds.get(found[1].bound, found[1].bound)})


class DeviceMemory(_Record):
    """Highest memory of one accelerator that a worker's process tree held during an attempt.

    Sampled from outside, never added to RAM: on an APU it is RAM, but in no RSS and no cgroup.
    """

    device: str  # PCI address or the driver's own name
    peak_bytes: int
    method: str


class Energy(_Record):
    """What a counter of the whole package or GPU rose by during an attempt; idle power is in it."""

    source: str  # the counter's own name: package-0, NVIDIA GeForce RTX 4070
    scope: Literal["package", "gpu"]
    joules: float
    method: str


class Isolation(_Record):
    """What a worker had from outside its env when its model was loaded."""

    network: str  # see messages.Hello
    leaks: tuple[str, ...] = ()  # modules and libraries that should not be there
    system_libraries: tuple[str, ...] = ()  # not the system's own, but an administrator's


class Crash(_Record):
    """What is known of a worker's death or hang, for whoever has to find out why."""

    exit: str  # signal or NTSTATUS in words, or what it did not do
    stack: str | None  # Python's own, by faulthandler
    log_tail: str  # the last lines that it printed
    last_frames: str  # what was sent to it, and what came back last
    memory_curve: tuple[tuple[float, int], ...]  # seconds before its end, resident bytes
    kernel_lines: tuple[str, ...]  # where this user may read them
    lock_sha256: str
    replay: str  # the command that does it again; empty for a batch, which none does


class Batch(_Record):
    """What was transcribed together; the times are of all of it."""

    size: int
    audio_s: float
    time_s: float
    infer_s: float


class Attempt(_Record):
    """One try of one model on one snippet.

    Of a batch, time_s, infer_s and energy are the snippet's share by its length: so they add up.
    """

    kind: Literal["attempt"] = "attempt"
    at: str
    model: str
    key: str
    snippet: str
    snippet_sha256: str
    repeat: int = 1  # of --repeat
    retry: int = 0  # 1 and up: tried again alone, after it took its worker down
    nth: int = 1  # in its worker, which may keep something of those before
    measured_before: int = 0  # in its worker; the warm-up, which every worker has, does not count
    warm_up: bool = False  # the first of its worker; counts for nothing but memory
    outcome: Outcome
    phase: Phase = "transcribe"
    text: str | None = None
    error: str | None = None
    audio_s: float | None = None  # decoded, not promised
    time_s: float | None = None  # last audio byte handed over → result, controller's clock
    infer_s: float | None = None  # the worker's own clock
    batch: Batch | None = None  # None: it was alone
    device: str | None = None
    load: LoadTimes | None = None
    memory: MemoryPeak | None = None  # since the worker's spawn
    load_memory: MemoryPeak | None = None  # from its spawn until its model was loaded
    attempt_memory: MemoryPeak | None = None  # during this attempt; None where no one can tell
    device_memory: tuple[DeviceMemory, ...] = ()
    energy: tuple[Energy, ...] = ()
    disturbed: tuple[str, ...] = ()  # what else went on on the machine
    isolation: Isolation | None = None
    load_details: Details = {}
    details: Details = {}
    notes: tuple[str, ...] = ()
    crash: Crash | None = None


class WorkerEnded(_Record):
    """A worker went wrong while no snippet was asked of it: none is to blame."""

    kind: Literal["worker_ended"] = "worker_ended"
    at: str
    model: str
    outcome: Outcome
    phase: Phase  # idle, shutdown; spawn, load, if another was tried then; transcribe, of a batch
    after: str | None  # the snippet that it had answered last
    error: str
    crash: Crash | None = None


class BatchCheck(_Record):
    """Snippets of a batch once more, each alone: whether batching changes texts."""

    kind: Literal["batch_check"] = "batch_check"
    at: str
    model: str
    key: str
    repeat: int
    checked: dict[str, str]  # snippet → its hash
    changed: dict[str, str]  # snippet → its text alone, where that is another


class ModelFailed(_Record):
    """The model's remaining snippets are not tried, and why."""

    kind: Literal["model_failed"] = "model_failed"
    at: str
    model: str
    outcome: Outcome
    phase: Phase
    error: str
    crash: Crash | None = None


JournalLine = Annotated[
    Plan | ModelStarted | Attempt | BatchCheck | WorkerEnded | ModelFailed,
    Field(discriminator="kind"),
]
JOURNAL_LINE: TypeAdapter[JournalLine] = TypeAdapter(JournalLine)
