"""Counters of the whole machine at one moment; two of them tell what happened in between."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MachineState:
    """Since boot, or since an earlier moment that stays the same. None: not to be seen here.

    Not here, because nobody can tell from them who waited for whom: the pressure of CPU (a worker
    with more threads than CPUs raises it alone) and of disks (a backup that waits for its own
    writes raises it, though no model ever notices).
    """

    at_s: float  # time.monotonic()
    cpus: int  # that this process and its children may run on; CPU times are sums over these
    controller_cpu_s: float  # this process, all threads, children not included
    busy_s: float | None = None  # CPU time of all programs; no interrupts, no waiting
    steal_s: float | None = None  # a virtual machine's CPUs wanted to run, and the host did not let
    swapped_in_bytes: int | None = None
    swapped_out_bytes: int | None = None
    oom_kills: int | None = None
    memory_wait_s: float | None = None  # at least one program waited for memory (PSI "some")
    throttled_s: tuple[float, ...] | None = (
        None  # by heat, each core and package; booked at its end
    )
    throttles: int | None = None  # by heat, of cores and packages whose times are not told
    quota_wait_s: float | None = None  # our cgroup's CPU quota was used up; sum over CPUs
    power: str | None = None  # "AC" or "battery"; None without a battery
