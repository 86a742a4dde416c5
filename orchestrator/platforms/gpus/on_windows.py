"""Windows: display adapters in the registry, and which of them are there."""

from __future__ import annotations

import sys

assert sys.platform == "win32"

import ctypes
import os
import winreg
from pathlib import Path
from typing import Any

from orchestrator.platforms.gpus.display_class import HIP_LIBRARIES, gpus_of
from orchestrator.platforms.gpus.gpu import Gpu

_CLASS = "{4d36e968-e325-11ce-bfc1-08002be10318}"
_KEY = rf"SYSTEM\CurrentControlSet\Control\Class\{_CLASS}"
_VALUES = (
    "DriverDesc",
    "MatchingDeviceId",
    "DriverVersion",
    "HardwareInformation.qwMemorySize",
)
_LIBRARIES = (*HIP_LIBRARIES, "nvcuda.dll", "d3d12.dll", "vulkan-1.dll")
# cfgmgr32.h
_FILTER_CLASS, _FILTER_PRESENT = 0x200, 0x100


def find_gpus() -> list[Gpu]:
    """Adapters that are there; empty if the registry cannot be read."""
    system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32")
    libraries = [name for name in _LIBRARIES if (system / name).exists()]
    return gpus_of(_adapters(), _present(), libraries)


def _adapters() -> list[dict[str, Any]]:
    found = []
    try:
        display = winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _KEY)
    except OSError:
        return []
    with display:
        for index in range(winreg.QueryInfoKey(display)[0]):
            try:
                with winreg.OpenKey(display, winreg.EnumKey(display, index)) as adapter:
                    found.append(_values(adapter))
            except OSError:  # "Properties" may not be read, and need not be
                continue
    return found


def _values(adapter: winreg.HKEYType) -> dict[str, Any]:
    values = {}
    for name in _VALUES:
        try:
            values[name] = winreg.QueryValueEx(adapter, name)[0]
        except OSError:
            continue
    return values


def _present() -> list[str]:
    """Device instance ids of the display class, as CM_Get_Device_ID_List tells them."""
    manager = ctypes.WinDLL("cfgmgr32")
    size = ctypes.c_uint32()
    flags = ctypes.c_uint32(_FILTER_CLASS | _FILTER_PRESENT)
    name = ctypes.c_wchar_p(_CLASS)
    if manager.CM_Get_Device_ID_List_SizeW(ctypes.byref(size), name, flags):
        return []
    buffer = ctypes.create_unicode_buffer(size.value)
    if manager.CM_Get_Device_ID_ListW(name, buffer, size, flags):
        return []
    return [one for one in ctypes.wstring_at(buffer, size.value).split("\0") if one]
