"""Where a master and its commands meet: /tmp/g and, if the master is root, a place that only root can take.

Anybody can make /tmp/g before root's master does.  That must not keep the master from starting, nor lead a command to
somebody else's: so root's master listens at RUN_SOCKET too, and a command that was told no socket tries it if /tmp/g is
missing or belongs to another user.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Final

from gproc.errors import TrustError
from gproc.trust.caller import SquattedSocket, check_listener

DEFAULT_SOCKET: Final = "/tmp/g"
RUN_DIRECTORY: Final = "/run/gproc"
RUN_SOCKET: Final = f"{RUN_DIRECTORY}/g"


def dial(path: str) -> tuple[socket.socket, str]:
    """A connection to the master at `path`, and where it was found.  No byte was sent.

    Raises: the first place's OSError if nobody listens there; TrustError if it is not root or this user who does.
    """
    if path != DEFAULT_SOCKET:
        return _dialled(path), path
    try:
        return _dialled(path), path
    except (OSError, TrustError):
        try:
            return _dialled(RUN_SOCKET), RUN_SOCKET
        except (OSError, TrustError):
            pass
        raise


def _dialled(path: str) -> socket.socket:
    try:
        owner = os.lstat(path).st_uid
    except (OSError, ValueError):
        owner = 0  # connect(2) says what is wrong
    if owner not in (0, os.geteuid()):
        # Before connecting: whoever listens there and never accepts would keep us waiting.
        raise SquattedSocket(path, owner)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
        check_listener(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def make_run_directory(path: str = RUN_DIRECTORY) -> None:
    """Make the directory that only root writes to.  Raises: TrustError if it is there and is another one."""
    try:
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)  # whatever the umask: all users' commands come by it
    except FileExistsError:
        pass
    except OSError as error:
        raise TrustError(f"cannot make {path}: {error.strerror}") from error
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise TrustError(f"{path} is no directory that root alone may change")
