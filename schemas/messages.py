"""What the controller and a worker's host say to each other.

Plain standard-library dataclasses, so that no model env needs pydantic; the controller validates
every reply against these same classes with a pydantic TypeAdapter. Runs on Python 3.9.
A change here is a change of PROTOCOL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Dict, List, Literal, Union  # noqa: UP035 (Python 3.9, see below)

PROTOCOL = 3
SAMPLE_RATE_HZ = 16_000
MAX_TEXT_CHARS = 200_000  # two hours of fast speech is about 120,000 characters
MAX_ENTRIES = 1_000  # of details and of path: settings of a model, folders of an env

# typing's names and Union, because pydantic evaluates these annotations and so may a 3.9 worker
Scalar = Union[str, int, float, bool, None]
Details = Dict[str, Scalar]  # noqa: UP006
Options = Dict[str, Any]  # noqa: UP006

# read by pydantic in the controller, inert in a worker
_RULES = {"extra": "forbid", "allow_inf_nan": False, "str_max_length": MAX_TEXT_CHARS}


# --- controller → host ---------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """Import the worker module and check its functions against the options. → Imported."""

    worker: str  # module name in workers/, or the absolute path of a worker.py
    options: Options = field(default_factory=dict)  # for load()
    transcribe_options: Options = field(default_factory=dict)  # for transcribe()
    kind: Literal["import"] = "import"


@dataclass(frozen=True)
class Load:
    """Call load(checkpoint, device, **options). → Loaded."""

    checkpoint: str | None  # a local file or folder; None: the model needs none
    device: str  # an accelerator's name
    kind: Literal["load"] = "load"


@dataclass(frozen=True)
class Trace:
    """Say from where came what is loaded by now. → Origins."""

    kind: Literal["trace"] = "trace"


@dataclass(frozen=True)
class Transcribe:
    """A snippet begins; its samples follow in Audio frames."""

    snippet: str
    samples_hint: int  # what the file's header promises: a hint for allocation, never trusted
    held: bool = False  # True: no answer to its last Audio; it waits for TranscribeHeld
    kind: Literal["transcribe"] = "transcribe"


@dataclass(frozen=True)
class Audio:
    """One block of samples in the frame's blob (little-endian float32, 16 kHz mono)."""

    snippet: str
    last: bool  # True: transcribe() is called now. → Partial*, Transcript
    kind: Literal["audio"] = "audio"


@dataclass(frozen=True)
class TranscribeHeld:
    """Call transcribe_batch() on all that is held. → a Transcript of each, as they came.

    Nothing is held afterwards, whatever happens.
    """

    kind: Literal["transcribe_held"] = "transcribe_held"


@dataclass(frozen=True)
class Cancel:
    """Forget the snippet that began: its recording turned out to be broken. No reply."""

    snippet: str
    kind: Literal["cancel"] = "cancel"


# --- host → controller ---------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """First frame of every worker. Says who is there and where its packages come from."""

    __pydantic_config__: ClassVar[Any] = _RULES
    protocol: int
    pid: int  # the interpreter's own: on Windows the venv's python.exe is only a launcher
    python: str
    prefix: str
    path: List[str]  # noqa: UP006
    network: str  # "none"; "open"; or "open: " and why this system refuses to close it
    kind: Literal["hello"] = "hello"


@dataclass(frozen=True)
class Imported:
    """The worker module is there, has its functions and takes its options."""

    __pydantic_config__: ClassVar[Any] = _RULES
    import_s: float
    batches: bool  # it has a transcribe_batch()
    kind: Literal["imported"] = "imported"


@dataclass(frozen=True)
class Loaded:
    """The model is ready. device is the one really used, as the worker reads it back."""

    __pydantic_config__: ClassVar[Any] = _RULES
    device: str
    load_s: float
    details: Details = field(default_factory=dict)  # effective settings: precision, threads, …
    kind: Literal["loaded"] = "loaded"


@dataclass(frozen=True)
class Origins:
    """From where came what is loaded, without what is the env's or the interpreter's own.

    Links are followed. Each list is cut when it is longer than any that is in order.
    """

    __pydantic_config__: ClassVar[Any] = _RULES
    packages: Dict[str, str]  # noqa: UP006 the env's top-level modules → file
    modules: Dict[str, str]  # noqa: UP006 from elsewhere: module → file
    import_path: List[str]  # noqa: UP006 folders elsewhere that modules may come from
    libraries: List[str]  # noqa: UP006 mapped files from elsewhere, the system's among them
    kind: Literal["origins"] = "origins"


@dataclass(frozen=True)
class Partial:
    """The text so far of a snippet that is still being transcribed."""

    __pydantic_config__: ClassVar[Any] = _RULES
    snippet: str
    text: str
    kind: Literal["partial"] = "partial"


@dataclass(frozen=True)
class Transcript:
    """The model's text for one snippet; empty if it heard nothing."""

    __pydantic_config__: ClassVar[Any] = _RULES
    snippet: str
    text: str
    samples: int  # how many arrived: the controller compares
    infer_s: float  # the worker's own clock around transcribe(), or around its whole batch
    details: Details = field(default_factory=dict)
    kind: Literal["transcript"] = "transcript"


@dataclass(frozen=True)
class Failure:
    """The last request raised. The worker lives on."""

    __pydantic_config__: ClassVar[Any] = _RULES
    error_type: str
    message: str
    traceback: str
    kind: Literal["failure"] = "failure"


_REQUESTS = (Import, Load, Trace, Transcribe, Audio, TranscribeHeld, Cancel)
REQUESTS = {cls.kind: cls for cls in _REQUESTS}
Request = Union[Import, Load, Trace, Transcribe, Audio, TranscribeHeld, Cancel]
Reply = Union[Hello, Imported, Loaded, Origins, Partial, Transcript, Failure]
