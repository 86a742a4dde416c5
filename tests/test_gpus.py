"""GPUs are found on captured machines, with what is in their way and what would help."""

from __future__ import annotations

import sys

import pytest
from gpu_trees import (
    BASIC_DISPLAY,
    RTX_4070,
    RTX_4070_IS_THERE,
    STRIX_HALO,
    STRIX_HALO_IS_THERE,
    add_card,
    add_kfd_nodes,
    add_nvidia,
    add_vulkan,
    write,
)

from orchestrator.platforms.gpus import find_gpus as find_here
from orchestrator.platforms.gpus.display_class import gpus_of
from orchestrator.platforms.gpus.gpu import gfx_target

if sys.platform == "linux":
    from orchestrator.platforms.gpus.on_linux import find_gpus
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="walks a tree of Linux")
ALL_LIBRARIES = ["amdhip64_7.dll", "nvcuda.dll", "d3d12.dll", "vulkan-1.dll"]


def strix_halo(root):
    add_card(root, 1, 0x1002, 0x1586, "amdgpu", "0000:c5:00.0", 128, 512 << 20)
    add_kfd_nodes(root, (110501, 0x1586, 128, 80))
    add_vulkan(root, "radeon_icd.json")


def test_this_machine_is_looked_at_without_an_error():
    assert isinstance(find_here(), list)


@pytest.mark.parametrize(
    ("version", "target"),
    [
        (110501, "gfx1151"),
        (110001, "gfx1101"),
        (90010, "gfx90a"),
        (90402, "gfx942"),
        (120000, "gfx1200"),
    ],
)
def test_a_target_is_written_as_its_builds_are_named(version, target):
    assert gfx_target(version) == target


@LINUX
def test_strix_halo_on_linux(tmp_path):
    strix_halo(tmp_path)
    (gpu,) = find_gpus(tmp_path)
    assert (gpu.vendor, gpu.target, gpu.driver) == ("AMD", "gfx1151", "amdgpu")
    assert "8060S" in gpu.name
    assert gpu.memory_bytes == 512 << 20
    assert gpu.uses == {"rocm": None, "vulkan": None}


@LINUX
def test_a_card_of_12_gb_beside_a_graphics_unit_on_linux(tmp_path):
    """The kernel's order is not that of the compute driver's nodes."""
    add_card(tmp_path, 0, 0x1002, 0x164E, "amdgpu", "0000:0f:00.0", 129, 512 << 20)
    add_card(tmp_path, 1, 0x1002, 0x747E, "amdgpu", "0000:03:00.0", 128, 12 << 30)
    add_kfd_nodes(tmp_path, (110001, 0x747E, 128, 108), (100306, 0x164E, 129, 4))
    small, large = find_gpus(tmp_path)
    assert (large.target, large.memory_bytes) == ("gfx1101", 12 << 30)
    assert small.target == "gfx1036"
    assert large.uses["rocm"] is None
    assert large.uses["vulkan"].what == "there is no Vulkan driver for AMD"
    assert "mesa-vulkan-drivers" in large.uses["vulkan"].fix


@LINUX
def test_an_rtx_on_linux(tmp_path):
    add_card(tmp_path, 0, 0x10DE, 0x2786, "nvidia", "0000:01:00.0", 128)
    add_nvidia(tmp_path)
    add_vulkan(tmp_path, "nvidia_icd.json")
    (gpu,) = find_gpus(tmp_path)
    assert (gpu.name, gpu.driver) == ("NVIDIA GeForce RTX 4070", "580.95.05")
    assert gpu.uses == {"cuda": None, "vulkan": None}


@LINUX
def test_an_rtx_in_a_container_without_display_nodes(tmp_path):
    add_nvidia(tmp_path)
    (gpu,) = find_gpus(tmp_path)
    assert gpu.uses == {"cuda": None}


@LINUX
def test_an_rtx_with_nouveau_says_which_driver_it_needs(tmp_path):
    add_card(tmp_path, 0, 0x10DE, 0x2786, "nouveau", "0000:01:00.0", 128)
    (gpu,) = find_gpus(tmp_path)
    assert gpu.uses["cuda"].what == "the driver is nouveau, not NVIDIA's own"


@LINUX
def test_a_machine_without_a_gpu(tmp_path):
    add_card(tmp_path, 0, 0x1A03, 0x2000, "ast", "0000:02:00.0")  # a server's board controller
    assert find_gpus(tmp_path) == []


@LINUX
@pytest.mark.parametrize("what", ["permission", "devices"])
def test_a_container_that_may_not_use_its_gpu(tmp_path, what):
    strix_halo(tmp_path)
    if what == "devices":
        (tmp_path / "dev/kfd").unlink()
        (tmp_path / "dev/dri/renderD128").unlink()
    (gpu,) = find_gpus(tmp_path, may_open=lambda _: False)
    rocm, vulkan = gpu.uses["rocm"], gpu.uses["vulkan"]
    if what == "permission":
        assert rocm.what == "this user may not open /dev/kfd"
        assert vulkan.what == "this user may not open /dev/dri/renderD128"
        assert "usermod -aG render,video" in rocm.fix
    else:
        assert rocm.what == "there is no /dev/kfd"
        assert "--device /dev/kfd" in vulkan.fix


@LINUX
@pytest.mark.parametrize("text", ["", "gfx_target_version", "gfx_target_version x\n", "\xff" * 99])
def test_a_tree_that_is_odd_costs_nothing(tmp_path, text):
    strix_halo(tmp_path)
    write(tmp_path / "sys/class/kfd/kfd/topology/nodes/1/properties", text)
    write(tmp_path / "sys/devices/pci0000:00/0000:c5:00.0/mem_info_vram_total", "no number\n")
    (gpu,) = find_gpus(tmp_path)
    assert gpu.uses["rocm"].what.startswith("the kernel's driver offers no compute")
    assert gpu.memory_bytes is None


def test_strix_halo_on_windows():
    (gpu,) = gpus_of([BASIC_DISPLAY, STRIX_HALO], [STRIX_HALO_IS_THERE], ALL_LIBRARIES)
    assert (gpu.target, gpu.pci, gpu.memory_bytes) == ("gfx1151", "1002:1586", 32 << 30)
    assert gpu.uses == {"rocm": None, "directml": None, "vulkan": None}


def test_a_laptop_makers_driver_without_hip_is_named():
    (gpu,) = gpus_of([STRIX_HALO], [STRIX_HALO_IS_THERE], ["d3d12.dll", "vulkan-1.dll"])
    assert "has no HIP" in gpu.uses["rocm"].what
    assert "Adrenalin" in gpu.uses["rocm"].fix
    assert gpu.uses["directml"] is None


def test_an_adapter_that_is_gone_is_no_gpu():
    found = gpus_of([STRIX_HALO, RTX_4070], [RTX_4070_IS_THERE], ALL_LIBRARIES)
    assert [gpu.name for gpu in found] == ["NVIDIA GeForce RTX 4070"]
    assert found[0].uses["cuda"] is None
    assert gpus_of([STRIX_HALO, BASIC_DISPLAY], [], ALL_LIBRARIES) == []


def test_two_of_a_kind_are_two():
    other = RTX_4070_IS_THERE.replace("0019", "0008")
    keys = [RTX_4070, RTX_4070]  # each has a key of its own
    assert len(gpus_of(keys, [RTX_4070_IS_THERE, other], ALL_LIBRARIES)) == 2
