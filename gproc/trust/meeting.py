"""The sockets at which a master and its commands meet: /tmp/g and, if the master is root, one that only root can make.

Any user can make /tmp/g before root's master does.  That must neither keep the master from starting nor lead a command
to another user's socket.  So root's master listens at RUN_SOCKET too.  A command without --socket tries it if /tmp/g
is missing or belongs to another user.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from typing import Final

from gproc.errors import TrustError
from gproc.trust.caller import SquattedSocket, check_listener

DEFAULT_SOCKET: Final = "/tmp/g"
RUN_DIRECTORY: Final = "/run/gproc"
RUN_SOCKET: Final = f"{RUN_DIRECTORY}/g"

CONNECT_S: Final = 10
"""Seconds until a master must have taken a connection.  The kernel holds 1,024 for one that does not; then connect(2)
waits, and fails with EAGAIN after this time: unix(7), socket(7)."""

_CONNECT_TIMEOUT: Final = struct.pack("@ll", CONNECT_S, 0)


def dial(path: str, *, waits: bool = True) -> tuple[socket.socket, str]:
    """A connection to the master at `path`, and the path at which it was found.  No byte has been sent yet.

    waits: if it is False, a queue that is full is told at once.
    Raises: OSError if no process listens at `path`; BlockingIOError, with the socket's path as filename, if it takes no
    connection for CONNECT_S; TrustError if a user other than root and this one listens.
    """
    if path != DEFAULT_SOCKET:
        return _dialled(path, waits), path
    try:
        return _dialled(path, waits), path
    except BlockingIOError:
        raise  # it is there, and waits for its turn to go on
    except (OSError, TrustError):
        try:
            return _dialled(RUN_SOCKET, waits), RUN_SOCKET
        except BlockingIOError:
            raise
        except (OSError, TrustError):
            pass
        raise


def _dialled(path: str, waits: bool) -> socket.socket:
    try:
        owner = os.lstat(path).st_uid
    except (OSError, ValueError):
        owner = 0  # connect(2) says what is wrong
    if owner not in (0, os.geteuid()):
        # Checked before connecting, because a listener that never accepts would make us wait.
        raise SquattedSocket(path, owner)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _CONNECT_TIMEOUT)
        connection.setblocking(waits)
        connection.connect(path)
        connection.setblocking(True)
        check_listener(connection, path)
    except BaseException as error:
        connection.close()
        if isinstance(error, BlockingIOError):
            error.filename = path
        raise
    return connection


def make_run_directory(path: str = RUN_DIRECTORY) -> None:
    """Make the directory that only root may change.  Raises: TrustError if a different one exists."""
    try:
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)  # mkdir applies the umask, but every user's commands must be able to enter
    except FileExistsError:
        pass
    except OSError as error:
        raise TrustError(f"cannot make {path}: {error.strerror}") from error
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise TrustError(f"{path} must be a directory that only root may change; it is not")
