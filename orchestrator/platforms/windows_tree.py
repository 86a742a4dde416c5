"""A process tree in a Job Object. Nothing here needs Windows itself: see windows_job for api.

A venv's python.exe is a launcher. It starts the real interpreter in a job of its own, from which
grandchildren break away; our job around both does not let them, and its list of processes, not
the launcher's process id, says what belongs to the tree.
"""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Callable
from typing import Any

from orchestrator.platforms import psutil_trees
from orchestrator.platforms.sampling import Peaks, Sample, Sampler
from orchestrator.platforms.threaded_writer import SLICE_S, ThreadedWriter
from orchestrator.platforms.windows_job import Job, start_inside, suppress_error_dialogs
from schemas.records import MemoryPeak

PERIOD_S = 0.05
KILL_WAIT_S = 5.0
LOOK_S = 0.01
SAMPLED = "rss-sum-50ms"


class WindowsProcessTree:
    """See platforms.ProcessTree. create: see windows_job.start_inside()."""

    def __init__(
        self,
        api: Any,
        create: Callable[[], tuple[subprocess.Popen[bytes], int]],
        memory_limit_bytes: int | None = None,
    ) -> None:
        suppress_error_dialogs(api)
        self._limit_bytes = memory_limit_bytes
        self._left: str | None = None  # what could not be killed
        self._job = Job(api, memory_limit_bytes)
        try:
            self._process = start_inside(api, self._job, create)
        except BaseException:
            self._job.close()
            raise
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert isinstance(stdin, io.FileIO)
        assert isinstance(stdout, io.FileIO)
        assert isinstance(stderr, io.FileIO)
        self.stdout, self.stderr = stdout, stderr
        self._writer = ThreadedWriter(stdin, lambda: self._process.poll() is not None)
        self._sampler = Sampler(self._look, PERIOD_S)

    @property
    def pid(self) -> int:
        """The launcher's."""
        return self._process.pid

    def write(self, data: memoryview, deadline: float) -> None:
        """Write all to stdin. TimeoutError at the deadline; OSError if nobody can read it."""
        self._writer.write(data, deadline)

    def close_stdin(self) -> None:
        """End of requests."""
        self._writer.close()

    def wait(self, timeout_s: float | None) -> int | None:
        """Exit status, None if still running. The launcher passes the interpreter's on.

        In slices: a wait for a handle does not notice Ctrl-C.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                return self._process.wait(None if left_s is None else min(left_s, SLICE_S))
            except subprocess.TimeoutExpired:
                if not left_s:
                    return None

    def memory(self) -> MemoryPeak | None:
        """The larger of the sampled sum and the largest process's own peak working set."""
        peaks = self._sampler.peaks()
        peak_bytes, method = max(
            (peaks.resident_bytes, SAMPLED), (peaks.process_high_water_bytes, "peak-working-set")
        )
        found = _peak(peaks, peak_bytes, method, self._job.peak_commit_bytes())
        return found and found.model_copy(
            update={"high_water_bytes": peaks.process_high_water_bytes}
        )

    def begin_memory_window(self) -> None:
        """A new phase begins."""
        self._sampler.begin_window()

    def memory_window(self) -> MemoryPeak | None:
        """Sampled only: Windows starts none of its counters anew."""
        peaks = self._sampler.window_peaks()
        return _peak(peaks, peaks.resident_bytes, SAMPLED, None)

    def memory_curve(self) -> list[tuple[float, int]]:
        """Resident memory in the last seconds."""
        return self._sampler.curve()

    def out_of_memory(self) -> str | None:
        """The kernel told that it refused memory because of the job's limit.

        How near the limit the peak came would be no evidence: the allocation that did not fit is
        not in it.
        """
        refused = self._job.refused_pids()
        if not refused:
            return None
        committed = self._job.peak_commit_bytes()
        held = "" if committed is None else f"; {committed / 1e6:.0f} MB were committed at most"
        return (
            f"Windows refused memory to {_named(sorted(refused))}: the limit is "
            f"{(self._limit_bytes or 0) / 1e6:.0f} MB of committed memory{held}"
        )

    def pids(self) -> list[int]:
        """Of the tree."""
        return self._job.pids()

    def cpu_s_by_pid(self) -> dict[int, float]:
        """By the job's own counter, which misses nobody."""
        used_s = self._job.cpu_s()
        return {} if used_s is None else {self.pid: used_s}

    def dump_stack(self) -> str | None:
        """Windows has no signal that a hanging process would answer."""
        return None

    def kill(self) -> str | None:
        """End the job with everything in it, and wait until it is gone: its files are locked."""
        self._job.terminate()
        limit = time.monotonic() + (0 if self._left else KILL_WAIT_S)  # given up once is enough
        while self._job.active() and time.monotonic() < limit:
            time.sleep(LOOK_S)
        left = self._job.pids()
        if not left and self.wait(max(0.0, limit - time.monotonic())) is None:
            left = [self.pid]
        self._left = f"{_named(left)} cannot be killed: a driver may be stuck" if left else None
        return self._left

    def close(self) -> str | None:
        """Kill what is left and give everything back.

        But for the pipes of a process that cannot be killed: closing one that a thread of ours
        reads or writes would wait for that process.
        """
        left = self.kill()
        self._sampler.close()
        self._writer.close()
        self._job.close()
        if left is None and self._writer.join(KILL_WAIT_S):
            self.stdout.close()
            self.stderr.close()
        return left

    def _look(self) -> Sample | None:
        self._job.refused_pids()  # so that the kernel does not have to keep many messages
        return psutil_trees.look_at(self._job.pids())


def _peak(
    peaks: Peaks, peak_bytes: int, method: str, commit_bytes: int | None
) -> MemoryPeak | None:
    if not peaks.pids:
        return None
    return MemoryPeak(
        peak_bytes=peak_bytes,
        method=method,
        # what came and went between two looks is missing
        bound=psutil_trees.bound_of_sum(peaks) if method == SAMPLED else "lower",
        resident_bytes=peaks.resident_bytes,
        commit_bytes=commit_bytes,
    )


def _named(pids: list[int]) -> str:
    return f"process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"
