"""NVIDIA's library, by a shared library with its functions that a C compiler makes here.

What is proved: our calls, and pynvml's structures against nvml.h. Not proved: a real driver.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the library's name is Linux's"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler to make a stand-in library with"),
]

LOOK = """
import ctypes, dataclasses, json
from orchestrator.platforms.devices import device_memory, other_clients
from orchestrator.platforms.devices.nvml import Nvml
nvml = Nvml()
seen = {
    "own": device_memory([nvml], [70, 71]),
    "others": other_clients([nvml], [70, 71]),
    "energy": nvml.readings(),
}
nvml.close()
seen["left"] = ctypes.CDLL("libnvidia-ml.so.1").stand_in_initialised()
print(json.dumps(seen, default=dataclasses.asdict))
"""
SAMPLE = """
import json
from orchestrator.platforms.devices import DeviceSampler, EnergyMeter
from orchestrator.platforms.devices.nvml import Nvml
sampler, meter = DeviceSampler(lambda: [70, 71], [Nvml()]), EnergyMeter([Nvml()])
peaks = [peak.model_dump() for peak in sampler.peaks()]
readings = list(meter.read())
print(json.dumps([peaks, sampler.problem(), readings, meter.problem()]))
sampler.close()
meter.close()
"""
SHORT_CLOSE = """
from orchestrator.platforms.devices import driver_thread
driver_thread.CLOSE_WAIT_S = 0.3
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("stand_in_nvml.c")
    command = [COMPILER, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source]
    subprocess.run(command, check=True, timeout=60)
    return folder


def answers(source, library=None, mode=""):
    environment = os.environ | {"NVML_STAND_IN": mode, "PYTHONPATH": str(ROOT)}
    if library is not None:
        environment["LD_LIBRARY_PATH"] = str(library)
    done = subprocess.run(
        [sys.executable, "-c", source],
        env=environment, capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_memory_energy_and_others(library):
    device = "0001:c5:03.0"
    seen = answers(LOOK, library)
    # 71 computes and draws: it is in two lists and counts once
    assert seen["own"] == {device: {"held_bytes": 5368709120 + 1000, "method": "nvml"}}
    # 90 has no number, as under WDDM
    assert seen["others"] == {device: {"processes": 1, "held_bytes": 300, "method": "nvml"}}
    ((name, reading),) = seen["energy"].items()
    assert name == f"NVIDIA H100 80GB HBM3 ({device})"
    assert reading["joules"] == 987654321.012
    assert (reading["scope"], reading["range_joules"], reading["method"]) == ("gpu", None, "nvml")
    assert seen["left"] == 0


def test_a_sampler_and_a_meter(library):
    peaks, problem, readings, meter_problem = answers(SAMPLE, library)
    assert peaks == [{"device": "0001:c5:03.0", "peak_bytes": 5368710120, "method": "nvml-250ms"}]
    assert len(readings) == 1
    assert problem is None
    assert meter_problem is None


def test_a_driver_that_is_not_loaded_is_said(library):
    peaks, problem, readings, meter_problem = answers(SAMPLE, library, "no-driver")
    assert (peaks, readings) == ([], [])
    assert problem == "device memory: nvml: Driver Not Loaded"
    assert meter_problem == "energy: Driver Not Loaded"


def test_a_missing_library_is_said():
    peaks, problem, _, _ = answers(SAMPLE)
    if peaks or problem is None:
        pytest.skip("this machine has the library")
    assert "NVML" in problem


def test_a_driver_that_hangs_keeps_nobody(library):
    """The thread never returns; the program ends, with what it has."""
    peaks, problem, readings, _ = answers(SHORT_CLOSE + SAMPLE, library, "hang")
    assert peaks == []
    assert problem == "device memory: no answer within 2 s"
    assert len(readings) == 1
