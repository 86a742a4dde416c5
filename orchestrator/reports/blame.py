"""Whether a snippet is to blame for a worker's death: told by trying it again, alone.

"Others" are measured snippets: the warm-up belongs to every worker, as its load does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.records import Attempt

KILLS = "this snippet kills the model"
SOMETIMES = "this snippet kills the model, not always"
AFTER_OTHERS = "only after others did it fail"
NOT_AGAIN = "did not happen again"
OTHERWISE = "alone it did not die, but failed in another way"
_WORST_FIRST = (KILLS, SOMETIMES, OTHERWISE, AFTER_OTHERS, NOT_AGAIN)


def blame(history: Sequence[Attempt]) -> str | None:
    """Of one snippet's attempts in order: the first try, then its retries. None without retries."""
    first, last = history[0], history[-1]
    if not last.retry:
        return None
    if last.crash is not None:
        return KILLS
    if any(one.retry and one.crash is not None for one in history):
        return SOMETIMES
    if last.outcome != "ok":
        return OTHERWISE
    return AFTER_OTHERS if first.measured_before else NOT_AGAIN


def worst(histories: Iterable[Sequence[Attempt]]) -> str | None:
    """The blame of a row, of which each repeat has a history."""
    found = {blame(history) for history in histories}
    return next((one for one in _WORST_FIRST if one in found), None)
