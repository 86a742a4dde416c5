"""Who holds how much memory of which device, whatever said so; the arithmetic for all platforms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Client:
    """One holder of one device's memory: a process, or an open file that several processes share.

    shared_bytes is the part of held_bytes that other clients may hold as well.
    """

    device: str
    pids: frozenset[int]
    held_bytes: int
    shared_bytes: int = 0


class Source(Protocol):
    """One way to ask about device memory. Making one touches no driver."""

    @property
    def method(self) -> str:
        """Where a number comes from, for its record."""
        ...

    def clients(self, pids: Iterable[int] | None) -> list[Client]:
        """The clients of all devices: at least those of these processes; None: all that it sees.

        May raise anything and may hang, as drivers do.
        """
        ...

    def close(self) -> None:
        """Give the driver's handles back."""
        ...


@dataclass(frozen=True)
class Held:
    """Memory of one device that some processes hold at one moment."""

    held_bytes: int
    method: str


@dataclass(frozen=True)
class Others:
    """Who else holds one device's memory. A desktop's compositor is nearly always among them."""

    processes: int
    held_bytes: int
    method: str


def device_memory(sources: Iterable[Source], pids: Iterable[int]) -> dict[str, Held]:
    """What these processes hold now, by device; a device of which they hold nothing is left out.

    Two sources of one device see partly the same buffers: the larger number counts, not the sum.
    """
    own, found = frozenset(pids), dict[str, Held]()
    for source in sources:
        for device, clients in _by_device(source.clients(own)).items():
            held_bytes = _held_bytes([one for one in clients if one.pids & own])
            if held_bytes:
                keep_larger(found, device, Held(held_bytes, source.method))
    return found


def keep_larger(found: dict[str, Held], device: str, held: Held) -> None:
    """Enter held, unless more is known already."""
    if device not in found or held.held_bytes > found[device].held_bytes:
        found[device] = held


def other_clients(sources: Iterable[Source], pids: Iterable[int]) -> dict[str, Others]:
    """Who besides these processes holds memory now, by device; a device of nobody is left out.

    Of two sources of one device the one that sees more processes counts.
    """
    own, found = frozenset(pids), dict[str, Others]()
    for source in sources:
        for device, clients in _by_device(source.clients(None)).items():
            foreign = [one for one in clients if one.held_bytes and not one.pids & own]
            processes = len(frozenset[int]().union(*(client.pids for client in foreign)))
            known = found.get(device)
            if processes and (known is None or processes > known.processes):
                found[device] = Others(processes, _held_bytes(foreign), source.method)
    return found


def _by_device(clients: Iterable[Client]) -> dict[str, list[Client]]:
    groups = defaultdict(list)
    for client in clients:
        groups[client.device].append(client)
    return groups


def _held_bytes(clients: list[Client]) -> int:
    """Their sum, with the largest share for all shares: no driver says who shares with whom.

    Never more than the sum over the clients, never less than the largest client.
    """
    private = sum(client.held_bytes - client.shared_bytes for client in clients)
    return private + max((client.shared_bytes for client in clients), default=0)
