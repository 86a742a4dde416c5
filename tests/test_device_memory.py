"""Device memory on Linux, from captured trees; and on this machine as it is."""

from __future__ import annotations

import sys

import pytest
from device_trees import AMDGPU_OLD, I915, LINUX_5_15, XE, add_kfd, add_process, amdgpu

from orchestrator.platforms.devices import device_memory, other_clients
from orchestrator.platforms.devices.clients import Held, Others
from orchestrator.platforms.devices.drm import DrmFdinfo
from orchestrator.platforms.devices.kfd import Kfd

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")

KIB, MIB = 1 << 10, 1 << 20
APU, CARD = "0000:c5:00.0", "0000:03:00.0"
NO_CLIENT_ID = amdgpu(1, 100).replace("drm-client-id:\t1\n", "")
BARE_BYTES = (
    "drm-driver:\tpanthor\ndrm-client-id:\t4\n"
    "drm-resident-memory:\t12345\ndrm-total-memory:\t99999\n"
)
XE_WITHOUT_RESIDENT = XE.replace("drm-resident", "drm-active")  # and times named total
TOTAL_ONLY = "drm-driver:\tmsm_dpu\ndrm-client-id:\t7\ndrm-total-memory:\t3 MiB\n"
RUBBISH = (
    "drm-driver:\tnew\ndrm-client-id:\t8\ndrm-resident-a:\t-5\ndrm-resident-b:\t7 GiB\n"
    "drm-resident-c:\t\ndrm-resident-d: 5 KiB 3\ndrm-resident-e\n\x00\x7f:\n"
    "drm-resident-f:\t99999999999999999999999 KiB\ndrm-resident-g:\t2 KiB\n"
)


@pytest.mark.parametrize(
    ("text", "device", "held_bytes"),
    [
        (amdgpu(5, 5348, 25258000, text=AMDGPU_OLD), APU, (25258000 + 5348) * KIB),
        (amdgpu(5, 5348, 25258000), APU, (25258000 + 5348) * KIB),
        (amdgpu(5, 155068, 20480, pdev=CARD), CARD, (155068 + 20480) * KIB),
        (amdgpu(5, 155068, 20480, shared_kib=13584, pdev=CARD), CARD, (155068 + 20480) * KIB),
        (I915, "0000:00:02.0", 6040 * KIB + MIB),
        (XE, CARD, 192 * KIB + 23 * MIB),
        (BARE_BYTES, "panthor", 12345),
        (TOTAL_ONLY, "msm_dpu", 3 * MIB),
        (XE_WITHOUT_RESIDENT, CARD, 192 * KIB + 23992 * KIB),
        (RUBBISH, "new", 2 * KIB),
    ],
    ids=[
        "APU, old keys",
        "APU",
        "card",
        "card that shares",
        "i915",
        "xe",
        "bytes",
        "total",
        "time",
        "odd",
    ],
)
def test_one_client_of_each_driver(tmp_path, text, device, held_bytes):
    add_process(tmp_path, 70, text)
    found = device_memory([DrmFdinfo(tmp_path)], [70])
    assert found == {device: Held(held_bytes, "drm-fdinfo")}


@pytest.mark.parametrize("text", [LINUX_5_15, NO_CLIENT_ID, "", amdgpu(5), "drm-driver:\tast\n"])
def test_a_file_that_tells_no_memory_is_no_device(tmp_path, text):
    add_process(tmp_path, 70, text)
    assert device_memory([DrmFdinfo(tmp_path)], [70]) == {}


def test_a_client_with_two_fds_counts_once_and_two_clients_add_up(tmp_path):
    add_process(
        tmp_path, 70, amdgpu(5, 100), amdgpu(5, 100), amdgpu(6, 20), amdgpu(5, 7, pdev=CARD)
    )
    found = device_memory([DrmFdinfo(tmp_path)], [70])
    assert {device: held.held_bytes for device, held in found.items()} == {
        APU: 120 * KIB,
        CARD: 7 * KIB,
    }


def test_a_client_that_a_child_inherited_counts_once(tmp_path):
    add_process(tmp_path, 70, amdgpu(5, 100))
    add_process(tmp_path, 71, amdgpu(5, 100), amdgpu(6, 1))
    source = DrmFdinfo(tmp_path)
    assert device_memory([source], [70, 71])[APU].held_bytes == 101 * KIB
    assert device_memory([source], [71])[APU].held_bytes == 101 * KIB
    assert device_memory([source], [70])[APU].held_bytes == 100 * KIB
    # held by one of ours, so it is not another's, whoever is looked at first
    assert other_clients([source], [70]) == {APU: Others(1, 1 * KIB, "drm-fdinfo")}
    assert other_clients([source], [71]) == {}


def test_buffers_that_two_clients_share_count_once(tmp_path):
    add_process(tmp_path, 70, amdgpu(5, 100, shared_kib=60))
    add_process(tmp_path, 71, amdgpu(6, 80, shared_kib=60))
    add_process(tmp_path, 72, amdgpu(7, 10, shared_kib=500))  # what it shares is not resident
    found = device_memory([DrmFdinfo(tmp_path)], [70, 71])
    assert found[APU].held_bytes == (40 + 20 + 60) * KIB
    found = device_memory([DrmFdinfo(tmp_path)], [72])
    assert found[APU].held_bytes == 10 * KIB
    found = device_memory([DrmFdinfo(tmp_path)], [71, 72])
    assert found[APU].held_bytes == (20 + 60) * KIB


def test_what_ends_or_closes_while_it_is_looked_at_is_left_out(tmp_path):
    add_process(tmp_path, 70, amdgpu(5, 100), amdgpu(6, 20))
    (tmp_path / "70" / "fdinfo" / "11").unlink()
    found = device_memory([DrmFdinfo(tmp_path)], [70, 71, 4_000_000])
    assert found[APU].held_bytes == 100 * KIB


def test_everybody_else_is_counted_by_processes_and_bytes(tmp_path):
    add_process(tmp_path, 70, amdgpu(5, 100))
    add_process(tmp_path, 80, amdgpu(6, 20), amdgpu(7, 30), amdgpu(8, 4, pdev=CARD))
    add_process(tmp_path, 81, amdgpu(9, 1), amdgpu(10))
    add_process(tmp_path, 82, amdgpu(11))  # has a file open and holds nothing
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("", encoding="ascii")
    assert other_clients([DrmFdinfo(tmp_path)], [70]) == {
        APU: Others(2, 51 * KIB, "drm-fdinfo"),
        CARD: Others(1, 4 * KIB, "drm-fdinfo"),
    }


GPUS = {39370: (0, 0xC500), 55: (1, 0x0319)}


def test_compute_memory_by_pci_address(tmp_path):
    add_kfd(tmp_path, GPUS, {70: {39370: 5 * MIB, 55: 0}, 71: {55: MIB}, 90: {55: 7, 77: 9}})
    kfd = Kfd(tmp_path / "proc", tmp_path / "sys")
    assert device_memory([kfd], [70, 71, 72]) == {
        APU: Held(5 * MIB, "kfd"),
        "0001:03:03.1": Held(MIB, "kfd"),
    }
    assert other_clients([kfd], [70, 71]) == {"0001:03:03.1": Others(1, 7, "kfd")}


def test_in_a_container_compute_memory_is_not_read_by_pid(tmp_path):
    add_kfd(tmp_path, GPUS, {70: {39370: 5 * MIB}}, namespace="pid:[4026532711]")
    assert Kfd(tmp_path / "proc", tmp_path / "sys").clients([70]) == []


@pytest.mark.parametrize("content", ["", "many", "-5"])
def test_odd_compute_memory_is_nothing(tmp_path, content):
    add_kfd(tmp_path, GPUS, {70: {39370: content}})
    assert device_memory([Kfd(tmp_path / "proc", tmp_path / "sys")], [70]) == {}


@pytest.mark.parametrize(
    ("fdinfo_kib", "expected"),
    [(9000, Held(9000 * KIB, "drm-fdinfo")), (100, Held(5 * MIB, "kfd"))],
    ids=["fdinfo has the compute buffers too", "fdinfo misses them"],
)
def test_the_two_ways_to_see_an_amd_gpu_are_never_added(tmp_path, fdinfo_kib, expected):
    add_process(tmp_path / "proc", 70, amdgpu(5, fdinfo_kib))
    add_kfd(tmp_path, GPUS, {70: {39370: 5 * MIB}})
    drm, kfd = DrmFdinfo(tmp_path / "proc"), Kfd(tmp_path / "proc", tmp_path / "sys")
    assert device_memory([drm, kfd], [70]) == {APU: expected}
    assert device_memory([kfd, drm], [70]) == {APU: expected}
