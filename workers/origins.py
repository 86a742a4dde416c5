"""From where this process's modules and shared libraries came, but for those of its own env.

Nothing of weight is imported for it: a worker's memory is being measured.
"""

from __future__ import annotations

import os
import sys
import types

from schemas import messages

TYPE_CHECKING = False  # as a type checker sees it; typing itself can wait
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_CHARS = 50_000  # of each list: the frame's header has to hold them in any script
PACKAGES = ("site-packages", "dist-packages")  # another Python's, though below its prefix
# what an interpreter keeps its own libraries in, below its prefix
LIBRARY_FOLDERS = ("bin", "lib", "lib64", "DLLs", "Library", "Resources")


def origins() -> messages.Origins:
    """What is loaded at this moment. Links are followed, so a name says where a file really is."""
    places = _Places()
    modules = [(name, places.real(file)) for name, file in _modules()]
    own = [(name, file) for name, file in modules if places.is_in_env(file)]
    strange = [(name, file) for name, file in modules if not places.has_module(file)]
    folders = [os.path.realpath(entry) for entry in sys.path if os.path.isdir(entry)]
    libraries = dict.fromkeys(places.real(file) for file in mapped_files())
    return messages.Origins(
        packages=_bounded((name, file) for name, file in own if "." not in name),
        modules=_bounded(strange),
        import_path=list(_bounded((one, "") for one in folders if not places.has_module(one))),
        libraries=list(_bounded((one, "") for one in libraries if not places.has_library(one))),
    )


class _Places:
    """The env's and the interpreter's own folders."""

    def __init__(self) -> None:
        bases = {sys.base_prefix, sys.base_exec_prefix}
        self._real: dict[str, str] = {}
        self._env = _folded(sys.prefix)
        self._bases = tuple(map(_folded, bases))
        # lib-dynload is below it; DLLs is beside it on Windows
        standard = [os.path.dirname(os.__file__), *(os.path.join(base, "DLLs") for base in bases)]
        self._standard = tuple(map(_folded, standard))
        folders = [os.path.join(base, name) for base in bases for name in LIBRARY_FOLDERS]
        self._libraries = tuple(map(_folded, folders))

    def real(self, file: str) -> str:
        """The file with its folder's links followed: one look for each folder, not each file."""
        folder, name = os.path.split(file)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)

    def is_in_env(self, path: str) -> bool:
        return _with_end(path).startswith(self._env)

    def has_module(self, path: str) -> bool:
        """Whether a module, or a folder to import from, is the env's or the standard library's."""
        folded = _with_end(path)
        if folded.startswith(self._env) or folded in self._bases:  # Windows imports from its base
            return True
        return folded.startswith(self._standard) and not _is_package(folded)

    def has_library(self, path: str) -> bool:
        """Whether a shared library is the env's or the interpreter's."""
        folded = _with_end(path)
        if folded.startswith(self._env):
            return True
        beside = _with_end(os.path.dirname(path)) in self._bases
        return (beside or folded.startswith(self._libraries)) and not _is_package(folded)


def _with_end(path: str) -> str:
    return os.path.normcase(path).rstrip(os.sep) + os.sep


def _folded(folder: str) -> str:
    return _with_end(os.path.realpath(folder))


def _is_package(folded: str) -> bool:
    return any(f"{os.sep}{name}{os.sep}" in folded for name in PACKAGES)


def _modules() -> Iterator[tuple[str, str]]:
    for name, module in list(sys.modules.items()):
        if isinstance(name, str) and issubclass(type(module), types.ModuleType):
            file = vars(module).get("__file__")  # getattr() might make a lazy module load the rest
            if isinstance(file, str) and os.path.isabs(file):
                yield name, file


def _bounded(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    kept: dict[str, str] = {}
    left = MAX_CHARS
    for item in items:
        name, file = (text.encode("utf-8", "backslashreplace").decode("utf-8") for text in item)
        left -= len(name) + len(file)
        if left < 0 or len(kept) == messages.MAX_ENTRIES:
            break
        kept[name] = file
    return kept


if sys.platform == "win32":

    def mapped_files() -> Iterator[str]:
        """Source: EnumProcessModules and GetModuleFileName of the Windows API."""
        import ctypes
        from ctypes import wintypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.GetCurrentProcess.restype = wintypes.HANDLE
        kernel.K32EnumProcessModules.argtypes = [
            wintypes.HANDLE,
            ctypes.POINTER(wintypes.HMODULE),
            wintypes.DWORD,
            ctypes.POINTER(wintypes.DWORD),
        ]
        kernel.GetModuleFileNameW.argtypes = [wintypes.HMODULE, wintypes.LPWSTR, wintypes.DWORD]
        handles, needed = (wintypes.HMODULE * 4096)(), wintypes.DWORD()
        process, size = kernel.GetCurrentProcess(), ctypes.sizeof(handles)
        if not kernel.K32EnumProcessModules(process, handles, size, ctypes.byref(needed)):
            raise ctypes.WinError(ctypes.get_last_error())
        name = ctypes.create_unicode_buffer(32_768)
        for handle in handles[: needed.value // ctypes.sizeof(wintypes.HMODULE)]:
            if kernel.GetModuleFileNameW(handle, name, len(name)):
                yield name.value[4:] if name.value.startswith("\\\\?\\") else name.value

elif sys.platform == "darwin":

    def mapped_files() -> Iterator[str]:
        """Source: dyld(3). Those of the system have a name, but no file any more."""
        import ctypes

        libc = ctypes.CDLL(None)
        libc._dyld_get_image_name.restype = ctypes.c_char_p
        for index in range(libc._dyld_image_count()):
            name = libc._dyld_get_image_name(index)
            if name:
                yield os.fsdecode(name)

else:

    def mapped_files() -> Iterator[str]:
        """Source: proc_pid_maps(5): address, rights, offset, device, inode, path."""
        with open("/proc/self/maps", "rb") as lines:
            parts = [line.rstrip(b"\n").split(None, 5) for line in lines]
        found = {os.fsdecode(part[5]) for part in parts if len(part) == 6 and b"x" in part[1]}
        for file in found:
            real, deleted, _ = file.partition(" (deleted)")
            # memory that has a name but no file, such as a driver's, is no library
            if os.path.isfile(real) or (deleted and ".so" in os.path.basename(real)):
                yield real
