"""Windows: GPU memory of each process by the system's own counters, whatever API allocated it.

The counter set is "GPU Process Memory", read by the performance data helper (pdh.dll) through
ctypes. Structures use fixed-size types, so that their layout can be checked on every platform.
Source: Microsoft's documentation of PDH_FMT_COUNTERVALUE_ITEM_W and of the PDH functions.

Dedicated and shared memory are added: they are disjoint, and on an integrated GPU buffers lie in
either, as the firmware's carve-out has it. "Total Committed" is not taken: it counts what was
promised, not what is there.
"""

from __future__ import annotations

import ctypes
import functools
import re
import sys
from collections.abc import Iterable, Mapping

from orchestrator.platforms.devices.clients import Client

DEDICATED = r"\GPU Process Memory(*)\Dedicated Usage"
SHARED = r"\GPU Process Memory(*)\Shared Usage"

FORMAT_LARGE = 0x0400
FORMAT_NO_SCALE = 0x1000
MORE_DATA = 0x8000_07D2
NOTHING_THERE = {
    0x8000_07D1,  # PDH_CSTATUS_NO_INSTANCE
    0x8000_07D5,  # PDH_NO_DATA
    0xC000_0BBA,  # PDH_CSTATUS_INVALID_DATA
    0xC000_0BC6,  # PDH_INVALID_DATA
}
VALID = {0, 1}  # PDH_CSTATUS_VALID_DATA, PDH_CSTATUS_NEW_DATA

_INSTANCE = re.compile(r"pid_(\d+)_luid_0x([0-9a-f]{8})_0x([0-9a-f]{8})_phys_\d+", re.IGNORECASE)


class CounterValue(ctypes.Structure):
    """PDH_FMT_COUNTERVALUE, 16 bytes; the union's member for PDH_FMT_LARGE."""

    _fields_ = (("CStatus", ctypes.c_uint32), ("largeValue", ctypes.c_int64))


class CounterItem(ctypes.Structure):
    """PDH_FMT_COUNTERVALUE_ITEM_W, 24 bytes on 64-bit Windows; szName points behind the array."""

    _fields_ = (("szName", ctypes.c_void_p), ("FmtValue", CounterValue))


def clients_of(values: Iterable[tuple[str, int]], names: Mapping[int, str]) -> list[Client]:
    """One client for each process and adapter.

    values: instance name and bytes, of both counters. names: of adapters by LUID, which is given
    anew at each start of the system.
    """
    sums: dict[tuple[int, str], int] = {}
    for instance, held_bytes in values:
        match = _INSTANCE.match(instance)
        if match is None:
            continue
        luid = int(match[2], 16) << 32 | int(match[3], 16)
        holder = int(match[1]), names.get(luid, f"luid-{luid:#x}")
        sums[holder] = sums.get(holder, 0) + max(0, held_bytes)
    return [Client(device, frozenset({pid}), held) for (pid, device), held in sums.items()]


if sys.platform == "win32":
    import winreg

    _DIRECTX = r"SOFTWARE\Microsoft\DirectX"

    class WindowsCounters:
        """See clients.Source. Sees all users' processes."""

        method = "pdh-dedicated+shared"

        def __init__(self) -> None:
            self._query: ctypes.c_void_p | None = None
            self._counters: list[ctypes.c_void_p] = []
            self._names: dict[int, str] = {}

        def clients(self, pids: Iterable[int] | None) -> list[Client]:
            """One for each process and adapter. OSError where Windows has no such counters."""
            if self._query is None:
                self._open()
            _check("PdhCollectQueryData", _pdh().PdhCollectQueryData(self._query), NOTHING_THERE)
            values = [value for counter in self._counters for value in _values(counter)]
            return clients_of(values, self._names)

        def close(self) -> None:
            """Give the query back."""
            if self._query is not None:
                _pdh().PdhCloseQuery(self._query)
                self._query = None

        def _open(self) -> None:
            query = ctypes.c_void_p()
            _check("PdhOpenQueryW", _pdh().PdhOpenQueryW(None, None, ctypes.byref(query)))
            self._query, self._counters, self._names = query, [], adapter_names()
            for path in (DEDICATED, SHARED):
                counter = ctypes.c_void_p()
                status = _pdh().PdhAddEnglishCounterW(query, path, None, ctypes.byref(counter))
                if status:
                    self.close()
                    _check(f"PdhAddEnglishCounterW({path})", status)
                self._counters.append(counter)

    @functools.cache
    def _pdh() -> ctypes.WinDLL:
        library = ctypes.WinDLL("pdh")
        handle, pointer, status = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32
        for name, arguments in (
            ("PdhOpenQueryW", (ctypes.c_wchar_p, ctypes.c_void_p, pointer)),
            ("PdhAddEnglishCounterW", (handle, ctypes.c_wchar_p, ctypes.c_void_p, pointer)),
            ("PdhCollectQueryData", (handle,)),
            ("PdhGetFormattedCounterArrayW", (handle, status, pointer, pointer, pointer)),
            ("PdhCloseQuery", (handle,)),
        ):
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, status
        return library

    def _check(what: str, status: int, harmless: Iterable[int] = ()) -> None:
        if status and status not in harmless:
            raise OSError(f"{what} failed with status {status:#010x}")

    def _values(counter: ctypes.c_void_p) -> list[tuple[str, int]]:
        """Instance name and value; a name may come twice."""
        size, count = ctypes.c_uint32(0), ctypes.c_uint32(0)
        buffer = ctypes.create_string_buffer(0)
        for _ in range(5):  # processes may come between two calls
            status = _pdh().PdhGetFormattedCounterArrayW(
                counter,
                FORMAT_LARGE | FORMAT_NO_SCALE,
                ctypes.byref(size),
                ctypes.byref(count),
                buffer if size.value else None,
            )
            if status != MORE_DATA:
                break
            buffer = ctypes.create_string_buffer(size.value)
        if status in NOTHING_THERE:
            return []
        _check("PdhGetFormattedCounterArrayW", status)
        items = ctypes.cast(buffer, ctypes.POINTER(CounterItem))
        return [
            (ctypes.wstring_at(items[index].szName), items[index].FmtValue.largeValue)
            for index in range(count.value)
            if items[index].FmtValue.CStatus in VALID
        ]

    def adapter_names() -> dict[int, str]:
        """LUID → description, as DirectX noted them; several cards of one name get their LUID."""
        found: dict[int, str] = {}
        try:
            directx = winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _DIRECTX)
        except OSError:
            return found
        with directx:
            for index in range(winreg.QueryInfoKey(directx)[0]):
                try:
                    with winreg.OpenKey(directx, winreg.EnumKey(directx, index)) as adapter:
                        luid = int(winreg.QueryValueEx(adapter, "AdapterLuid")[0])
                        found[luid] = str(winreg.QueryValueEx(adapter, "Description")[0])
                except (OSError, ValueError):  # not an adapter
                    continue
        names = list(found.values())
        return {
            luid: name if names.count(name) == 1 else f"{name} ({luid:#x})"
            for luid, name in found.items()
        }
