"""Windows' counters of GPU memory: what can be checked everywhere, and the real ones there."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from orchestrator.platforms.devices.clients import Client
from orchestrator.platforms.devices.windows_counters import (
    CounterItem,
    CounterValue,
    clients_of,
)

APU = "AMD Radeon(TM) 8060S Graphics"
NAMES = {0xC46E: APU, 0x1_0000_D00D: "NVIDIA GeForce RTX 4070"}


def instance(pid, luid, phys=0):
    return f"pid_{pid}_luid_0x{luid >> 32:08X}_0x{luid & 0xFFFFFFFF:08X}_phys_{phys}"


def test_structures_have_their_documented_size():
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("64-bit only")
    assert (ctypes.sizeof(CounterValue), ctypes.sizeof(CounterItem)) == (16, 24)
    assert CounterValue.largeValue.offset == CounterItem.szName.size == 8
    assert CounterItem.FmtValue.offset == 8


def test_dedicated_and_shared_memory_add_up_for_each_process_and_adapter():
    values = [
        (instance(70, 0xC46E), 32 << 30),  # dedicated
        (instance(71, 0xC46E), 5),
        (instance(70, 0x1_0000_D00D), 7),
        (instance(70, 0x1_0000_D00D, phys=1), 8),
        (instance(70, 0xC46E), 9 << 30),  # shared
        (instance(72, 0xABCD), 1),
        (instance(73, 0xC46E), -1),
    ]
    assert clients_of(values, NAMES) == [
        Client(APU, frozenset({70}), 41 << 30),
        Client(APU, frozenset({71}), 5),
        Client("NVIDIA GeForce RTX 4070", frozenset({70}), 15),
        Client("luid-0xabcd", frozenset({72}), 1),
        Client(APU, frozenset({73}), 0),
    ]


@pytest.mark.parametrize(
    "name",
    ["", "_Total", "pid_x_luid_0x0_0x1_phys_0", "luid_0x00000000_0x0000C46E_phys_0", "pid_7"],
)
def test_an_instance_of_another_form_is_left_out(name):
    assert clients_of([(name, 5)], NAMES) == []


@pytest.mark.skipif(sys.platform != "win32", reason="the real counters are Windows'")
def test_the_counters_can_be_read_twice():
    from orchestrator.platforms.devices.windows_counters import WindowsCounters, adapter_names

    if not adapter_names():
        pytest.skip("this machine has no display adapter")
    counters = WindowsCounters()
    for _ in range(2):
        for client in counters.clients([os.getpid()]):
            assert client.held_bytes >= 0
            assert client.pids
    counters.close()
    counters.close()
