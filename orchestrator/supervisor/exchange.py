"""The reply that was expected, or the fault that came instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.supervisor.channel import Channel, Received, WorkerFault
from orchestrator.supervisor.crashes import says_out_of_memory
from schemas import messages

_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer(Generic[_T]):
    """A reply of the kind that was asked for, and when it came (time.perf_counter)."""

    reply: _T
    at: float


def expect(channel: Channel, kind: type[_T], deadline: float) -> Answer[_T]:
    """The next reply. Raises WorkerFault if it is of another kind, or none comes in time."""
    return checked(channel, kind, channel.receive(deadline))


def checked(channel: Channel, kind: type[_T], received: Received) -> Answer[_T]:
    """A reply that came, if it is of this kind; else WorkerFault."""
    reply = received.reply
    if isinstance(reply, kind):
        return Answer(reply, received.at)
    if isinstance(reply, messages.Failure):
        raise _failure(channel, reply)
    raise WorkerFault("protocol_error", f"worker sent {reply.kind!r} out of turn")


def _failure(channel: Channel, reply: messages.Failure) -> WorkerFault:
    message = f"{reply.error_type}: {reply.message}"
    evidence = channel.tree.out_of_memory()  # of a child, whose end the worker noticed
    if evidence:
        return WorkerFault("out_of_memory", f"{message}\n{evidence}", alive=True)
    no_memory = says_out_of_memory(reply.error_type, reply.message)
    return WorkerFault("out_of_memory" if no_memory else "failed", message, alive=True)
