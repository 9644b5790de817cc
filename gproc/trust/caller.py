"""The user at the other end of a Unix socket, as the kernel reports it: unix(7), SO_PEERCRED."""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

from gproc.disk.trusted import user_name
from gproc.errors import TrustError
from gproc.request.spec import Caller

SO_PEERGROUPS: Final = 59
"""asm-generic/socket.h, since Linux 4.13; Python 3.11 has no name for it."""

_UCRED: Final = struct.Struct("iII")
_GID_BYTES: Final = 4
_GETSOCKOPT_MAX_BYTES: Final = 1024
"""The most that socket.getsockopt() of Python 3.11 takes: 256 groups."""

_NGROUPS_MAX: Final = 65536
"""include/uapi/linux/limits.h."""


class SquattedSocket(TrustError):
    """Another user listens at the master's socket."""

    def __init__(self, path: str, uid: int) -> None:
        super().__init__(path, uid)
        self.path = path
        self.uid = uid

    def __str__(self) -> str:
        return (
            f"a squatted socket: {self.path} belongs to {user_name(self.uid)}, neither to root nor to you; nothing was "
            "sent to it; name your master's socket by --socket"
        )


def caller_of(connection: socket.socket) -> Caller:
    """The user that connected to this end of a Unix socket."""
    _, uid, gid = _credentials(connection)
    return Caller(uid, gid, _groups(connection))


def uid_of(connection: socket.socket) -> int:
    """The uid of the user that connected to this end of a Unix socket."""
    return _credentials(connection)[1]


def listener_of(connection: socket.socket) -> tuple[int, int]:
    """The process that listens at the other end of a Unix socket, and its user's uid."""
    return _credentials(connection)[:2]


def check_listener(connection: socket.socket, path: str | bytes) -> None:
    """Check that root or this user listens at `path`.  The client does this before it sends a byte.

    Both the listener and the directory entry must be theirs.  If the entry is a link, the owner of the link counts,
    because the link's owner chooses the listener.

    Raises: SquattedSocket, which names the owner; TrustError if the entry is gone.
    """
    trusted = (0, os.geteuid())
    _, listener = listener_of(connection)
    try:
        owner = os.lstat(path).st_uid
    except OSError as error:
        raise TrustError(f"{os.fsdecode(path)} vanished while connecting: {error.strerror}") from error
    for uid in (listener, owner):
        if uid not in trusted:
            raise SquattedSocket(os.fsdecode(path), uid)


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Pid, uid and gid."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return pid, uid, gid


def _groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GETSOCKOPT_MAX_BYTES)
    except OSError as error:
        import errno

        if error.errno != errno.ERANGE:
            raise TrustError(f"cannot read the caller's groups from the kernel: {error.strerror}") from error
        raw = _many_groups(connection)
    return struct.unpack(f"{len(raw) // _GID_BYTES}I", raw)


def _many_groups(connection: socket.socket) -> bytes:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    size = ctypes.c_uint32(_NGROUPS_MAX * _GID_BYTES)
    buffer = ctypes.create_string_buffer(size.value)
    if libc.getsockopt(connection.fileno(), socket.SOL_SOCKET, SO_PEERGROUPS, buffer, ctypes.byref(size)) != 0:
        raise TrustError(f"cannot read the caller's groups from the kernel: {os.strerror(ctypes.get_errno())}")
    return buffer.raw[: size.value]
