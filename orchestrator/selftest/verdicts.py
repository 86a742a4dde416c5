"""Is what was said right? Pure functions of what was measured."""

from __future__ import annotations

import os

from orchestrator.selftest.probes import Death, Footprint
from orchestrator.selftest.record import DeathFound, FootprintFound, Reading, Reported, Verdict
from schemas.records import MemoryPeak, Outcome

TOLERANCE = 0.02  # of the truth
NOISE = ("noise of Python", "noise of C", "noise of a child")


def judge_footprint(
    footprint: Footprint, size_bytes: int, baseline: MemoryPeak, total: MemoryPeak, own: MemoryPeak
) -> FootprintFound:
    """baseline: of the attempt with nothing in it. total: of the worker. own: of the attempt."""
    truth = baseline.peak_bytes + size_bytes
    judged = [_judge(footprint, peak, truth) for peak in (total, own)]
    # the worse of the two that a run publishes
    verdict, why = max(judged, key=lambda one: ("seen", "not seen", "wrong").index(one[0]))
    return FootprintFound(
        name=footprint.name,
        what=footprint.what,
        verdict=verdict,
        why=why,
        truth_bytes=truth,
        baseline_bytes=baseline.peak_bytes,
        reported=_reported(total, truth),
        reported_for_attempt=_reported(own, truth),
        counters=tuple(
            Reading(counter=name, said_bytes=said, error=(said - truth) / truth)
            for name, said in _counters(total).items()
            if said is not None
        ),
    )


def blind_spot(footprint: Footprint, peak: MemoryPeak, truth_bytes: int) -> str | None:
    """Why the counters behind this peak could not see the footprint; None if they could."""
    sampled_tree = peak.cgroup_bytes is None and peak.bound in ("lower", "unknown")
    if footprint.brief and sampled_tree and peak.peak_bytes < truth_bytes:
        return (
            f"no counter of the kernel covers the whole tree here; {peak.method} is of one process "
            "or sampled, and can miss what is brief. The bound says that the truth may be higher"
        )
    if footprint.shared and peak.method.startswith("rss-sum") and peak.peak_bytes > truth_bytes:
        return "resident memory is summed over processes here: what they share counts for each"
    return None


def judge_death(
    death: Death, outcome: Outcome, said: str, stack: str | None, bound: str | None, log: str
) -> DeathFound:
    """said: the error, or the text that came. bound: of the peak. log: all that it printed."""
    why = _misread(death, outcome, said, stack, bound, log)
    return DeathFound(
        name=death.name,
        what=death.what,
        right=not why,
        why=why,
        expected=death.outcome,
        outcome=outcome,
        said=said,
    )


def _judge(footprint: Footprint, peak: MemoryPeak, truth: int) -> tuple[Verdict, str]:
    error = (peak.peak_bytes - truth) / truth
    if abs(error) <= TOLERANCE:
        return "seen", ""
    why = blind_spot(footprint, peak, truth)
    if why:
        return "not seen", why
    return "wrong", (
        f"{peak.method} says {peak.peak_bytes / 1e6:.0f} MB, the truth is {truth / 1e6:.0f} MB, "
        f"and it calls itself {peak.bound}"
    )


def _reported(peak: MemoryPeak, truth: int) -> Reported:
    return Reported(
        peak_bytes=peak.peak_bytes,
        error=(peak.peak_bytes - truth) / truth,
        method=peak.method,
        bound=peak.bound,
    )


def _counters(peak: MemoryPeak) -> dict[str, int | None]:
    return {
        "cgroup": peak.cgroup_bytes,
        "largest process": peak.high_water_bytes,
        "PSS sum": peak.proportional_bytes,
        "RSS sum": peak.resident_bytes,
        "job commit": peak.commit_bytes,
    }


def _misread(
    death: Death, outcome: Outcome, said: str, stack: str | None, bound: str | None, log: str
) -> str:
    if outcome != death.outcome:
        return f"called {outcome}, it is {death.outcome}"
    if death.outcome == "timed_out" and stack is None and hasattr(os, "killpg"):
        return "Python's stack is missing"  # a signal could have made the worker print it
    if death.limited and "limit" not in said:
        return "that it met its limit is not said"
    if death.limited and bound != "lower":
        return f"its peak was held down by the limit, yet calls itself {bound}"
    lost = [line for line in NOISE if line not in log] if death.outcome == "ok" else []
    return f"not in the log: {', '.join(lost)}" if lost else ""
