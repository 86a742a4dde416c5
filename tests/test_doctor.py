"""What the doctor finds on this machine, and on machines as they were captured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from conftest import STACKS
from gpu_trees import RTX_4070, RTX_4070_IS_THERE, STRIX_HALO, STRIX_HALO_IS_THERE

from orchestrator.accelerators import ways
from orchestrator.doctor import _of_disks, stack_choice
from orchestrator.platforms.gpus.display_class import gpus_of
from orchestrator.stacks import read_stack

ALL_LIBRARIES = ["amdhip64_7.dll", "nvcuda.dll", "d3d12.dll", "vulkan-1.dll"]
LAPTOP = gpus_of([STRIX_HALO], [STRIX_HALO_IS_THERE], ALL_LIBRARIES)
CHAIN = ("cuda", "rocm", "directml", "cpu")


@pytest.fixture
def stack(tmp_path):
    """One that has builds for all."""
    folder = tmp_path / "many"
    folder.mkdir()
    text = (STACKS / "puppet" / "pyproject.toml").read_text(encoding="utf-8")
    text = text.partition("[tool.asrbench.models")[0].replace('"puppet"', '"many"')
    text = text.replace('accelerators = ["cpu"]', f"accelerators = {json.dumps(CHAIN)}")
    (folder / "pyproject.toml").write_text(text + "[tool.asrbench.models.many]\n", "utf-8")
    (folder / "worker.py").write_text("", encoding="utf-8")
    return folder


def test_each_way_that_a_stack_has_is_told(stack):
    found = [one for (one,) in ways(read_stack(stack).accelerators, LAPTOP)]
    assert [way.accelerator for way in found] == list(CHAIN)
    usable = [way.accelerator for way in found if way.obstacle is None]
    assert usable == ["rocm", "directml", "cpu"]
    assert found[0].obstacle.what == "no GPU here offers cuda"
    assert found[1].gpu.target == "gfx1151"


def test_a_gpu_that_is_ready_is_preferred_then_one_with_more_memory():
    small = {**RTX_4070, "HardwareInformation.qwMemorySize": 4 << 30}
    there = RTX_4070_IS_THERE.replace("2786", "1F82")
    small |= {"MatchingDeviceId": r"PCI\VEN_10DE&DEV_1F82", "DriverDesc": "GTX 1650"}
    both = gpus_of([small, RTX_4070], [there, RTX_4070_IS_THERE], ALL_LIBRARIES)
    ((way, _),) = ways(["cuda"], both)
    assert (len(both), way.gpu.name) == (2, "NVIDIA GeForce RTX 4070")


def test_a_stack_says_why_it_does_not_use_what_it_likes_more(stack):
    choice = stack_choice(read_stack(stack), LAPTOP)
    assert choice.accelerator == "rocm"
    assert choice.better == {"cuda": "no GPU here offers cuda"}


def test_a_disk_that_is_nearly_full_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.doctor.LOW_DISK_BYTES", 1 << 60)
    (found,) = _of_disks(tmp_path / "not yet" / "there", tmp_path / "cache")
    assert "GB are free where envs are built" in found.what
    assert "ASRBENCH_HOME" in found.fix


@pytest.mark.skipif(sys.platform != "linux", reason="finds a second disk in /dev/shm")
def test_a_cache_on_another_disk_is_told(tmp_path, monkeypatch):
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("the temporary folder is in memory as well")
    monkeypatch.setenv("UV_CACHE_DIR", "/dev/shm/not-yet-there")
    monkeypatch.setattr("orchestrator.doctor.LOW_DISK_BYTES", 0)
    (found,) = _of_disks(tmp_path, tmp_path)
    assert "on two disks" in found.what


def test_the_command_tells_people_and_programs_the_same(in_process, stack):
    told = in_process("doctor", "--stacks", stack)
    assert told.code == 0, told.err
    assert "machine " in told.out
    assert "many: cpu" in told.out
    assert "not rocm: " in told.out
    found = in_process("doctor", "--stacks", stack, "--json").json()
    assert {one["stack"] for one in found["stacks"]} >= {"pocketsphinx", "many"}
    assert found["gpus"] == [] or found["gpus"][0]["uses"]


def test_a_stack_that_cannot_run_here_says_why(in_process, stack):
    file = stack / "pyproject.toml"
    text = file.read_text(encoding="utf-8").replace(json.dumps(CHAIN), '["rocm"]')
    file.write_text(text, encoding="utf-8")
    choice = stack_choice(read_stack(stack), [])
    assert choice.accelerator is None
    assert "cannot run here: rocm: no GPU here offers rocm" in choice.better["rocm"]
    assert in_process("doctor", "--stacks", stack).code == 0  # another can


def test_a_stack_file_that_is_wrong_is_named(in_process, tmp_path):
    done = in_process("doctor", "--stacks", tmp_path / "nowhere")
    assert done.code == 2
    assert "there is no such folder" in done.err
