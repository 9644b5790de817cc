"""ptrace(2) as `observing` needs it: processes that stop before each system call that names a file.

A seccomp filter picks these calls, so a program is not stopped for others.  The kernel says number and arguments in the
same form on every machine since Linux 5.3 (PTRACE_GET_SYSCALL_INFO); only the filter knows the numbers of machines.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gproc.errors import BundleError

PATH_BYTES_MAX: Final = 4096
"""PATH_MAX, linux/limits.h, with its NUL."""

_PAGE_BYTES: Final = 4096

# linux/ptrace.h
_CONT: Final = 7
_SEIZE: Final = 0x4206
_LISTEN: Final = 0x4208
_GET_SYSCALL_INFO: Final = 0x420E
EVENT_SECCOMP: Final = 7
EVENT_STOP: Final = 128
_OPTIONS: Final = 0x2 | 0x4 | 0x8 | 0x10 | 0x80 | 0x100000
"""Follow fork, vfork and clone; stop at execve and for the filter; the processes end with this one."""

# linux/prctl.h, linux/seccomp.h, linux/filter.h
_SET_SECCOMP: Final = 22
_SET_NO_NEW_PRIVS: Final = 38
_MODE_FILTER: Final = 2
_RET_ALLOW: Final = 0x7FFF0000
_RET_TRACE: Final = 0x7FF00000
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K


class Call(NamedTuple):
    """A kind of system call.

    path: the index of the argument that names a file.  at: whether the argument before it is a directory's descriptor.
    flags: the index of open(2)'s flags, or of the structure that begins with them (openat2); None if it opens nothing.
    """

    path: int
    at: bool = False
    flags: int | None = None
    executes: bool = False
    indirect: bool = False


CALLS: Final = (
    Call(0),
    Call(1, at=True),
    Call(0, flags=1),
    Call(1, at=True, flags=2),
    Call(1, at=True, flags=2, indirect=True),
    Call(0, executes=True),
    Call(1, at=True, executes=True),
)
_LOOK, _LOOK_AT, _OPEN, _OPEN_AT, _OPEN_HOW, _EXECUTE, _EXECUTE_AT = range(7)

_NUMBERS: Final[Mapping[int, Mapping[int, int]]] = {
    # asm/unistd_64.h: stat, lstat, access, chdir, readlink; newfstatat, readlinkat, faccessat, statx, faccessat2
    0xC000003E: {4: _LOOK, 6: _LOOK, 21: _LOOK, 80: _LOOK, 89: _LOOK, 262: _LOOK_AT, 267: _LOOK_AT, 269: _LOOK_AT,
                 332: _LOOK_AT, 439: _LOOK_AT, 2: _OPEN, 257: _OPEN_AT, 437: _OPEN_HOW, 59: _EXECUTE, 322: _EXECUTE_AT},
    # asm/unistd_32.h, for 32-bit programs
    0x40000003: {106: _LOOK, 107: _LOOK, 195: _LOOK, 196: _LOOK, 33: _LOOK, 12: _LOOK, 85: _LOOK, 300: _LOOK_AT,
                 305: _LOOK_AT, 307: _LOOK_AT, 383: _LOOK_AT, 439: _LOOK_AT, 5: _OPEN, 295: _OPEN_AT, 437: _OPEN_HOW,
                 11: _EXECUTE, 358: _EXECUTE_AT},
    # asm-generic/unistd.h, of AArch64
    0xC00000B7: {49: _LOOK, 79: _LOOK_AT, 78: _LOOK_AT, 48: _LOOK_AT, 291: _LOOK_AT, 439: _LOOK_AT, 56: _OPEN_AT,
                 437: _OPEN_HOW, 221: _EXECUTE, 281: _EXECUTE_AT},
}  # fmt: skip
"""By the architecture of linux/audit.h: the number of a system call -> the index of its kind in CALLS."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.process_vm_readv.restype = ctypes.c_ssize_t
_libc.process_vm_readv.argtypes = [
    ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong,
]  # fmt: skip


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class StoppedCall(NamedTuple):
    """A process that stands before a system call of the filter."""

    call: Call
    arguments: tuple[int, ...]


def start(argv: Sequence[str], program: str, environ: Mapping[str, str], descriptors: Sequence[int]) -> int:
    """Start a program that is traced from its first system call on.  descriptors: its 0, 1 and 2.  Returns its pid.

    What cannot be started ends with status 127.
    Raises: BundleError if the kernel forbids it.
    """
    seized, seize = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(seize)
            if os.read(seized, 1):
                _filter_calls()
                for number, descriptor in enumerate(descriptors):
                    os.dup2(descriptor, number)
                os.execve(program, list(argv), dict(environ))
        finally:
            os._exit(127)
    os.close(seized)
    try:
        _request(_SEIZE, pid, None, _OPTIONS)
    except OSError as error:
        os.close(seize)
        os.waitpid(pid, 0)
        raise BundleError(f"--trace needs ptrace(2), which is forbidden here: {error.strerror}") from error
    else:
        os.write(seize, b".")
        os.close(seize)
    return pid


def go_on(pid: int, signum: int = 0) -> None:
    """Let a stopped process run, with the signal that it was to get.  It may be gone."""
    _unless_gone(_CONT, pid, signum)


def stay(pid: int) -> None:
    """Leave a process stopped that a signal has stopped, until another one wakes it."""
    _unless_gone(_LISTEN, pid, 0)


def stopped_at(pid: int) -> StoppedCall | None:
    """The system call before which a process stands; None if the process is gone."""
    info = ctypes.create_string_buffer(88)
    try:
        _request(_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    except OSError:
        return None
    values = struct.unpack_from("<Q6QI", info.raw, 24)
    return StoppedCall(CALLS[values[7] % len(CALLS)], values[1:7])


def read_text(pid: int, address: int) -> bytes | None:
    """A string of a stopped process, without its NUL; None if there is none that a path can be."""
    found = b""
    while len(found) < PATH_BYTES_MAX:
        part = read_memory(pid, address, _PAGE_BYTES - address % _PAGE_BYTES)
        if part is None:
            return None
        text, end, _ = part.partition(b"\0")
        found += text
        if end:
            return found
        address += len(part)
    return None


def read_memory(pid: int, address: int, size_bytes: int) -> bytes | None:
    """That much of a stopped process's memory, or None."""
    buffer = ctypes.create_string_buffer(size_bytes)
    here = _Vector(ctypes.addressof(buffer), size_bytes)
    there = _Vector(address, size_bytes)
    done = _libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return buffer.raw[:done] if done > 0 else None


def _filter_calls() -> None:
    """In the new process.  Raises: OSError."""
    code = _code()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    none = ctypes.c_ulong(0)
    if os.geteuid() != 0 and _libc.prctl(_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), none, none, none) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if _libc.prctl(_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), none, none) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _code() -> bytes:
    """The filter: load the architecture, then the number, and compare."""
    parts = []
    for arch, numbers in _NUMBERS.items():
        section = _step(_LOAD, value=0)
        for number, kind in numbers.items():
            section += _step(_JUMP_EQUAL, 0, 1, number) + _step(_RETURN, value=_RET_TRACE | kind)
        section += _step(_RETURN, value=_RET_ALLOW)
        parts.append(_step(_JUMP_EQUAL, 0, len(section) // 8, arch) + section)
    return _step(_LOAD, value=4) + b"".join(parts) + _step(_RETURN, value=_RET_ALLOW)


def _step(code: int, if_true: int = 0, if_false: int = 0, value: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _request(request: int, pid: int, address: int | None, data: int | None) -> None:
    if _libc.ptrace(request, pid, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _unless_gone(request: int, pid: int, data: int) -> None:
    try:
        _request(request, pid, None, data)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise
