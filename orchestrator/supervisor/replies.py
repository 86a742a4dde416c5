"""A worker's replies, checked field by field: nothing that it sends is believed."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter, ValidationError

from schemas import framing
from schemas.messages import MAX_ENTRIES, Reply

_REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])
_KINDS = {cls.kind for cls in get_args(Reply)}

MAX_SHOWN_CHARS = 80


def validated(header: framing.Header) -> Reply:
    """A reply from a frame's header. Raises ValueError saying which field is wrong."""
    kind = header.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        found = repr(kind) if isinstance(kind, str) else type(kind).__name__
        raise ValueError(f"kind: {_shown(found)} is none of a reply")
    try:
        reply = _REPLY.validate_python(header)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(_shown(str(part)) for part in problem["loc"])
        raise ValueError(f"{where}: {problem['msg']}") from None
    for name, value in vars(reply).items():
        _check_field(f"{kind}.{name}", value, header.get(name))
    return reply


def _check_field(where: str, value: Any, given: Any) -> None:
    # pydantic's strict mode takes no dict for a dataclass, and its lax mode takes "5" for 5
    if type(given) is not type(value) or given != value:
        raise ValueError(f"{where}: is missing or has the wrong type")
    if isinstance(value, int | float) and value < 0:
        raise ValueError(f"{where}: is negative")
    if isinstance(value, list | dict) and len(value) > MAX_ENTRIES:
        raise ValueError(f"{where}: has {len(value)} entries, more than {MAX_ENTRIES}")


def _shown(part: str) -> str:
    """A worker's word, short and on one line."""
    short = part if len(part) <= MAX_SHOWN_CHARS else part[:MAX_SHOWN_CHARS] + "…"
    return "".join(char if char.isprintable() else "�" for char in short)
