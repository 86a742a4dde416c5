"""How many threads workers take that choose it themselves."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest
from conftest import ROOT

from workers import cores

PROGRAM = "from workers.cores import usable_physical_cores; print(usable_physical_cores())"


def test_physical_cores_are_counted_and_not_their_threads(monkeypatch, tmp_path):
    assert 1 <= cores.usable_physical_cores() <= (psutil.cpu_count(logical=False) or 1)
    monkeypatch.setattr(cores, "CGROUPS", str(tmp_path))
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8 if logical else 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)
    assert cores.usable_physical_cores() == 4
    assert cores.all_are_ours()
    # two cores with both threads of each
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda self: [0, 1, 4, 5], raising=False)
    assert not cores.all_are_ours()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_process_that_may_use_one_core_takes_one():
    first = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, [{first}])\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("quota", "most"),
    [
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "20000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "350000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({}, 8),
    ],
)
def test_a_container_s_share_is_not_exceeded(monkeypatch, tmp_path, quota, most):
    for name, value in quota.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(value + "\n", encoding="ascii")
    monkeypatch.setattr(cores, "CGROUPS", str(tmp_path))
    monkeypatch.setattr(psutil, "cpu_count", lambda logical: 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)
    assert cores.usable_physical_cores() == most
