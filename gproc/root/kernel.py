"""The system calls that Python 3.11 has no name for: unshare, setns, mount and prctl (section 2 of the man pages).

Each raises OSError with the kernel's errno.  Numbers are those of <linux/sched.h>, <linux/mount.h> and
<linux/prctl.h>, the same on every architecture.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 4096
MS_MOVE: Final = 8192
MS_REC: Final = 16384
MS_SLAVE: Final = 1 << 19

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38

_KEYCTL_NUMBERS: Final = {
    "x86_64": 250, "aarch64": 219, "riscv64": 219, "loongarch64": 219, "ppc64le": 271, "s390x": 280, "armv7l": 311,
}  # fmt: skip
_CLOSE_RANGE: Final = 436
"""The same number on every architecture."""
_LAST: Final = 0xFFFF_FFFF

_KEYCTL_JOIN_SESSION_KEYRING: Final = 1

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 4 << 20
"""Room for four chunks of the store (content.manifest.CHUNK_BYTES)."""

_FORDBLKS: Final = 8


class _Figures(ctypes.Structure):
    """struct mallinfo2, mallinfo(3)."""

    _fields_ = (("figures", ctypes.c_size_t * 10),)


class _FormerFigures(ctypes.Structure):
    """struct mallinfo, before glibc 2.33."""

    _fields_ = (("figures", ctypes.c_uint * 10),)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]


def keep_freed_memory() -> None:
    """Let the C library keep a little free memory for the next use; does nothing with another library than glibc.

    It returns what is free to the kernel whenever the top of its heap has 128 KiB of it.  A chunk that passes through
    takes more.  So each one would fault its pages in anew, 32 for every piece: a fifth of a slave's processor time.
    """
    tune = getattr(_libc, "mallopt", None)
    if tune is not None:
        tune(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        tune(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)  # the C library stops to choose it by itself when the other is set


def give_memory_back() -> None:
    """Return what the C library has free to the kernel; does nothing with another library than glibc."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def freed_bytes() -> int:
    """What the C library has free, returned to the kernel or not; 0 with another library than glibc."""
    tell = getattr(_libc, "mallinfo2", None) or getattr(_libc, "mallinfo", None)
    if tell is None:
        return 0
    tell.restype = _Figures if tell.__name__ == "mallinfo2" else _FormerFigures
    return int(tell().figures[_FORDBLKS])


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    _checked(_libc.setns(fd, kind), f"setns({kind:#x})")


def mount(source: bytes, at: bytes, kind: bytes | None = None, flags: int = 0, data: bytes | None = None) -> None:
    if _libc.mount(source, at, kind, flags, data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(at))


def prctl(option: int, value: int) -> None:
    _checked(_libc.prctl(option, value, 0, 0, 0), f"prctl({option})")


def close_from(first: int) -> None:
    """Close this and all higher descriptors.

    os.closerange() asks close_range(2) only if Python was built on a system that had it.  If not, it tries each number
    up to the limit, and that may be a million.  The same holds for a kernel before Linux 5.9.
    """
    if _libc.syscall(ctypes.c_long(_CLOSE_RANGE), ctypes.c_ulong(first), ctypes.c_ulong(_LAST), ctypes.c_ulong(0)) != 0:
        try:
            numbers = [int(name) for name in os.listdir("/proc/self/fd")]
        except OSError:
            os.closerange(first, os.sysconf("SC_OPEN_MAX"))
            return
        for number in numbers:
            if number >= first:
                with contextlib.suppress(OSError):  # the list's own is closed already
                    os.close(number)


def new_session_keyring() -> None:
    """Take an empty session keyring, keyctl(2), in place of the one that this process was started with.

    Nothing happens if the kernel has no keys, or allows nobody here to use them.  Raises: OSError.
    """
    number = _KEYCTL_NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"keyctl has no known number on {os.uname().machine}")
    if _libc.syscall(ctypes.c_long(number), ctypes.c_long(_KEYCTL_JOIN_SESSION_KEYRING), None) < 0:
        code = ctypes.get_errno()
        # ENOSYS: a kernel without keys; EPERM: a container that forbids the call, to the program as well.
        if code not in (errno.ENOSYS, errno.EPERM):
            raise OSError(code, f"keyctl: {os.strerror(code)}")


def _checked(result: int, call: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}")
