"""Whether a snippet is to blame for a worker's death: told by trying it again, alone."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import Attempt

KILLS = "this snippet kills the model"
AFTER_OTHERS = "only after others did it fail"
NOT_AGAIN = "did not happen again"


def blame(history: Sequence[Attempt]) -> str | None:
    """Of one snippet's attempts in order: the first try, then its retries. None without retries."""
    first, last = history[0], history[-1]
    if not last.retry:
        return None
    if last.crash is not None:
        return KILLS
    return NOT_AGAIN if first.nth == 1 else AFTER_OTHERS
