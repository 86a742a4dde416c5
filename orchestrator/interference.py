"""What disturbed an attempt from outside, so that its row can be marked.

Two states of the machine, looked at just before and just after, and the worker's own CPU time.
Nothing said means nothing seen, not that nothing was there: counters have ticks of 4 to 16 ms, so
an attempt of a tenth of a second is marked only by what is exact at any length (swap, memory
pressure, killed processes, power) and by a load that no tick could feign.
"""

from __future__ import annotations

from orchestrator.platforms import MachineState

# Two attempts on a quiet machine differ by about this much of their time: a smaller loss is not
# to be seen in a result.
LOST_SHARE = 0.02

# Half a CPU, all the time. The background of a desktop (browser, sound, the terminal that draws our
# view) stays below; a program that keeps one CPU busy is above, and on up to 16 CPUs it slows a
# worker that has a thread on each: all wait for the one that shared its CPU.
OTHER_CPUS = 0.5

# With more CPUs the background grows and one busy CPU matters less. 1/40 of 32 is still below one.
OTHER_SHARE_OF_CPUS = 1 / 40

# CPU time is counted by asking at each tick who runs. With 16 CPUs half busy for a second, and
# 250 ticks in it, chance alone moves the sum by 0.13 s (one standard deviation).
OTHER_CPU_MIN_S = 0.3

# Five ticks of Linux's clock for the same reason.
STEAL_MIN_S = 0.05

# A sleeping daemon that wakes for a moment brings back less; what is more takes 0.3 ms or longer
# from the fastest disk, and says that memory is short.
SWAPPED_BYTES = 1_000_000


def disturbances(
    before: MachineState, after: MachineState, worker_cpu_s: float | None
) -> tuple[str, ...]:
    """One short sentence for each disturbance, with figures; empty if none was seen.

    worker_cpu_s: see worker_cpu_s(); None if it is not known, and then nobody is accused.
    """
    wall_s = after.at_s - before.at_s
    if wall_s <= 0:
        return ()
    found = (
        _others(before, after, worker_cpu_s, wall_s),
        _steal(before, after),
        _swap(before, after),
        _killed(before, after),
        _memory(before, after, wall_s),
        _heat(before, after, wall_s),
        _quota(before, after, wall_s),
        _power(before, after),
    )
    return tuple(sentence for sentence in found if sentence)


def worker_cpu_s(before: dict[int, float], after: dict[int, float]) -> float | None:
    """CPU time of a worker's tree between two ProcessTree.cpu_s_by_pid(); None if it is not known.

    A process that ended in between is counted by the one that waited for it, with all that it used
    in its life: rather too much for the worker than too much for others.
    """
    if not before or not after:
        return None
    return sum(max(0.0, used - before.get(pid, 0.0)) for pid, used in after.items())


def _rise(before: float | None, after: float | None) -> float:
    """What cannot be seen has not risen, and a counter that was reset tells nothing."""
    return 0.0 if before is None or after is None else max(0.0, after - before)


def _others(
    before: MachineState, after: MachineState, worker_cpu_s: float | None, wall_s: float
) -> str | None:
    if worker_cpu_s is None or before.cpus != after.cpus:
        return None
    controller_s = after.controller_cpu_s - before.controller_cpu_s
    others_s = _rise(before.busy_s, after.busy_s) - worker_cpu_s - controller_s
    cpus = min(others_s / wall_s, after.cpus)
    if others_s < OTHER_CPU_MIN_S or cpus < max(OTHER_CPUS, OTHER_SHARE_OF_CPUS * after.cpus):
        return None
    return f"other programs used {cpus:.1f} of {after.cpus} CPUs"


def _steal(before: MachineState, after: MachineState) -> str | None:
    if before.busy_s is None or after.busy_s is None:
        return None
    steal_s = _rise(before.steal_s, after.steal_s)
    wanted_s = steal_s + _rise(before.busy_s, after.busy_s)
    if steal_s < STEAL_MIN_S or steal_s < LOST_SHARE * wanted_s:
        return None
    share = steal_s / wanted_s
    return (
        f"a virtual machine's host took {share * 100:.0f} % of the CPU time that was wanted (steal)"
    )


def _swap(before: MachineState, after: MachineState) -> str | None:
    into = _rise(before.swapped_in_bytes, after.swapped_in_bytes)
    out = _rise(before.swapped_out_bytes, after.swapped_out_bytes)
    if into + out < SWAPPED_BYTES:
        return None
    return f"swapped {into / 1e6:.0f} MB in, {out / 1e6:.0f} MB out"


def _killed(before: MachineState, after: MachineState) -> str | None:
    killed = _rise(before.oom_kills, after.oom_kills)
    if not killed:
        return None
    return f"the kernel killed {killed:.0f} process(es) because memory ran out"


def _memory(before: MachineState, after: MachineState, wall_s: float) -> str | None:
    share = min(1.0, _rise(before.memory_wait_s, after.memory_wait_s) / wall_s)
    if share < LOST_SHARE:
        return None
    return f"programs waited {share * 100:.0f} % of the time for memory (PSI)"


def _heat(before: MachineState, after: MachineState, wall_s: float) -> str | None:
    pairs = zip(before.throttled_s or (), after.throttled_s or (), strict=False)
    longest_s = max((_rise(*pair) for pair in pairs), default=0.0)
    if longest_s >= LOST_SHARE * wall_s:
        # the whole of it is booked at its end, also what came before the attempt
        return f"the CPU was throttled by heat for {min(longest_s, wall_s) * 1000:.0f} ms"
    times = _rise(before.throttles, after.throttles)  # how long is not known, so each one is told
    return f"the CPU was throttled by heat {times:.0f} time(s)" if times else None


def _quota(before: MachineState, after: MachineState, wall_s: float) -> str | None:
    waited_s = _rise(before.quota_wait_s, after.quota_wait_s)
    if waited_s < LOST_SHARE * wall_s or not waited_s:
        return None
    return f"a CPU quota held programs back for {waited_s * 1000:.0f} ms (sum over CPUs)"


def _power(before: MachineState, after: MachineState) -> str | None:
    if before.power is None or after.power is None or before.power == after.power:
        return None
    return f"power went from {before.power} to {after.power}"
