"""Directories opened with the rights of a job's user, by a process of their own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

_ANSWER_BYTES: Final = 4096
_FDS_MAX: Final = 4


class Identity(msgspec.Struct, frozen=True):
    """The user whose rights a job has."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def as_user(identity: Identity, opening: Callable[[], Sequence[int]]) -> list[int]:
    """Call `opening` in a child that has become this user, and return the descriptors that it opens.

    Raises: the OSError that it raised.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            _answer(theirs, identity, opening)
        told, fds, _, _ = socket.recv_fds(ours, _ANSWER_BYTES, _FDS_MAX)
        os.waitpid(pid, 0)
    if not fds:
        code, _, path = (told or b"0").partition(b" ")
        number = int(code) or errno.EIO
        raise OSError(number, os.strerror(number), os.fsdecode(path))
    return list(fds)


def _answer(told: socket.socket, identity: Identity, opening: Callable[[], Sequence[int]]) -> None:
    try:
        if os.geteuid() == 0:
            os.setgroups(list(identity.groups))
            os.setresgid(identity.gid, identity.gid, identity.gid)
            os.setresuid(identity.uid, identity.uid, identity.uid)
        socket.send_fds(told, [b"0"], list(opening()))
    except OSError as error:
        path = error.filename if isinstance(error.filename, bytes) else os.fsencode(str(error.filename or ""))
        told.send(b"%d %s" % (error.errno or errno.EIO, path))
    finally:
        os._exit(0)
