"""Energy of a whole package or GPU: idle power and other programs are in it.

A package's counter may contain an integrated GPU's, so an attempt's records are never added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.records import Energy

HIGHEST_PACKAGE_W = 600.0  # no socket takes more for long
_GRACE_S = 1.0  # counters are updated up to a few times a second


@dataclass(frozen=True)
class Reading:
    """A counter at one moment."""

    scope: Literal["package", "gpu"]
    joules: float  # since a moment of the counter's own choosing
    at_s: float  # time.monotonic()
    range_joules: float | None  # it begins anew there; None: it does not
    method: str
    began_s: float | None = None  # of a sum that may be begun anew: when that was


def between(before: Mapping[str, Reading], after: Mapping[str, Reading]) -> tuple[Energy, ...]:
    """What each counter rose by, by the counter's name.

    A counter is left out where its rise cannot be known: it appeared or began anew meanwhile
    (driver reload, suspend, a sensor that slept), or so much time passed that it may have wrapped
    more than once. For that, read at least once in range_joules / HIGHEST_PACKAGE_W (108 s for the
    smallest range, 65.5 kJ; 436 s for 262 kJ) and add up.
    """
    found = []
    for source in sorted(before.keys() & after.keys()):
        joules = _rise(before[source], after[source])
        if joules is not None:
            reading = after[source]
            found.append(
                Energy(source=source, scope=reading.scope, joules=joules, method=reading.method)
            )
    return tuple(found)


def _rise(before: Reading, after: Reading) -> float | None:
    joules = after.joules - before.joules
    if after.began_s != before.began_s:
        return None
    if after.range_joules is None:
        return joules if joules >= 0 else None
    most = HIGHEST_PACKAGE_W * (after.at_s - before.at_s + _GRACE_S)
    joules %= after.range_joules
    return joules if joules <= most < after.range_joules else None
