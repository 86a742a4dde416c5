"""No network for a worker, where Linux lets a process give it up.

A network namespace of its own holds a loopback device and nothing else: what phones home fails at
once, and a library that talks to itself on localhost goes on working. This is a fence against
surprises, not against malice: as root, a process can climb back.

Run as a program, it leaves the network and then becomes the command that it is given:

    python -I -S -B seclusion.py [PROGRAM ARGUMENT… NETWORK]

It comes before the host, because packages of an env run code of theirs when Python starts (.pth
files), and may start threads; -S keeps them away from here. NETWORK, the last argument, becomes
"open: " and why, if the network cannot be left.

Without a command it tries this out in a process that can be thrown away: exit status 0, or a line
that says why not. That has to be known before, because on some systems only the second half is
refused, and a process in a user namespace without its ids can create no files.
"""

from __future__ import annotations

import sys

assert sys.platform not in ("win32", "darwin")

import ctypes  # noqa: E402
import errno  # noqa: E402
import fcntl  # noqa: E402
import os  # noqa: E402
import struct  # noqa: E402

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
AF_INET, SOCK_DGRAM = 2, 2
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h


class StrandedError(OSError):
    """The network is left, but not all is as it must be: this process can do no work."""


def seclude() -> None:
    """Leave the network. Needs a process with one thread.

    Raises OSError if nothing has changed, StrandedError if there is no way back.

    Whoever may administer the system needs nothing else. Others need a user namespace around it,
    in which they keep their own ids. The kernel goes by the ids outside, so supplementary groups
    (of GPU devices) still count, and the controller, whose user owns the namespace, may still
    read, measure and kill; but setuid programs do not work in it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        _refuse_before_nvidia_is_ready()
        uid, gid = os.geteuid(), os.getegid()
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
            raise _error(OSError, ctypes.get_errno(), "unshare")
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    handle = libc.socket(AF_INET, SOCK_DGRAM, 0)
    if handle < 0:
        raise _error(StrandedError, ctypes.get_errno(), "socket")
    try:
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
    except OSError as error:
        raise _error(StrandedError, error.errno, "the loopback device") from None
    finally:
        os.close(handle)


def _refuse_before_nvidia_is_ready() -> None:
    """CUDA's first user has nvidia-modprobe make this device node, and that is a setuid program.

    Source: nvidia-modprobe(1).
    """
    if os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/nvidia-uvm"):
        raise _error(OSError, errno.ENODEV, "/dev/nvidia-uvm; nvidia-modprobe -u -c=0 makes it")


def _write(file: str, text: str) -> None:
    try:
        handle = os.open(file, os.O_WRONLY)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise _error(StrandedError, error.errno, file) from None


def _error(kind: type[OSError], number: int | None, what: str) -> OSError:
    return kind(number, f"{what}: {os.strerror(number or 0)}")


def main(command: list[str]) -> None:
    """See above."""
    try:
        seclude()
    except OSError as error:
        if not command or isinstance(error, StrandedError):
            sys.exit(error.strerror)  # on stderr
        command = [*command[:-1], f"open: {error.strerror}"]
    if command:
        os.execv(command[0], command)  # noqa: S606 the controller's words, and no shell


if __name__ == "__main__":
    main(sys.argv[1:])
