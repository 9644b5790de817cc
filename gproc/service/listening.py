"""The master's Unix sockets as directory entries: makes them, removes a dead master's, removes its own at the end."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from typing import Final, NamedTuple

from gproc.disk.sockets import bind_with_mode
from gproc.disk.trusted import user_name, why_untrusted
from gproc.errors import GprocError, TrustError
from gproc.trust.caller import caller_of
from gproc.trust.meeting import DEFAULT_SOCKET, RUN_SOCKET, make_run_directory

log = logging.getLogger("gproc")

MAX_SOCKET_PATH_BYTES: Final = 107
"""sun_path has 108 bytes, with the final zero: unix(7)."""

PROBE_S: Final = 1.0
"""Seconds to wait for an answer.  A socket that gives none is busy, not dead."""


class Squatted(GprocError):
    """Another user has taken the path; the message names this user."""


class Listener(NamedTuple):
    """A bound socket and its directory entry."""

    socket: socket.socket
    path: str
    device: int
    inode: int

    @property
    def is_there(self) -> bool:
        """Whether the entry is still this one."""
        try:
            info = os.lstat(self.path)
        except OSError:
            return False
        return (info.st_dev, info.st_ino) == (self.device, self.inode)

    def remove(self) -> None:
        """Remove the entry, if it is still this one."""
        with contextlib.suppress(OSError):
            if self.is_there:
                os.unlink(self.path)


def listeners(path: str) -> list[Listener]:
    """Sockets bound at `path` and, if this is root's master and `path` is the usual one, at RUN_SOCKET.

    Root's master goes on without /tmp/g if another user has taken it.  Raises: GprocError if nothing is bound.
    """
    if path != DEFAULT_SOCKET or os.geteuid() != 0:
        return [_bound(path)]
    found = []
    squatted: Squatted | None = None
    try:
        found.append(_bound(path))
    except Squatted as error:
        squatted = error
    try:
        make_run_directory()
        found.append(_bound(RUN_SOCKET))
    except (GprocError, TrustError) as error:
        if squatted is not None:
            raise squatted from error
        log.warning("commands find this master at %s alone: %s", path, error)
    else:
        if squatted is not None:
            log.warning("%s; commands find this master at %s", squatted, RUN_SOCKET)
    return found


def _bound(path: str) -> Listener:
    """A socket at `path`.  If the master is root, every user may connect to it; if not, only the master's user may.

    Raises: GprocError with the obstacle and its owner.
    """
    check_directory(path)
    clear_the_way(path)
    return _made(path)


def made_again(former: Listener) -> Listener | None:
    """A socket in place of one whose entry was removed; None if there is an entry.

    The entry may be another master's.  bind(2) never replaces an entry, also if it is made meanwhile.
    Raises: GprocError with the obstacle.
    """
    if os.path.lexists(former.path):
        return None
    if former.path == RUN_SOCKET:
        try:
            make_run_directory()
        except TrustError as error:
            raise GprocError(str(error)) from error
    check_directory(former.path)
    return _made(former.path)


def check_directory(path: str) -> None:
    """Raises: GprocError if we are root, and others could exchange what we make there."""
    if os.geteuid() == 0 and (reason := why_untrusted(os.path.dirname(path))):
        # Clients would see that the socket is another user's; but we remove and make entries there.
        raise GprocError(f"cannot make the socket {path}: {reason}; choose another by --socket")


def _made(path: str) -> Listener:
    listener = None
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        info = bind_with_mode(listener, path, 0o666 if os.geteuid() == 0 else 0o600)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise GprocError(f"cannot make the socket {path}: {error.strerror}; choose another by --socket") from error
    return Listener(listener, path, info.st_dev, info.st_ino)


def clear_the_way(path: str) -> None:
    """Remove a dead master's socket.

    Raises: GprocError if a live master or something else is there; Squatted if it is another user's.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise GprocError(
            f"the socket's path has {len(os.fsencode(path))} bytes, more than the {MAX_SOCKET_PATH_BYTES} that the "
            f"kernel takes: choose a shorter one with --socket"
        )
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise GprocError(f"cannot make the socket {path}: {error.strerror}") from error
    theirs = info.st_uid not in (0, os.geteuid())
    if not stat.S_ISSOCK(info.st_mode):
        if theirs:
            raise Squatted(f"{path} belongs to {user_name(info.st_uid)} and is no socket: choose another with --socket")
        raise GprocError(f"{path} is there and is no socket: remove it, or choose another with --socket")
    listening = _listening_user(path)
    if listening is not None:
        if theirs or listening not in (0, os.geteuid()):
            raise Squatted(f"{user_name(listening)} listens at {path}: choose another with --socket")
        raise GprocError(f"a master is already listening at {path}")
    try:
        os.unlink(path)
    except OSError as error:
        problem = f"cannot remove the dead socket {path} of {user_name(info.st_uid)}: {error.strerror}"
        raise (Squatted if theirs else GprocError)(f"{problem}; choose another with --socket") from error


def _listening_user(path: str) -> int | None:
    """The uid of the process that listens at the socket; None if none does."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(PROBE_S)
    try:
        probe.connect(path)
        return caller_of(probe).uid
    except (TimeoutError, BlockingIOError):
        return os.lstat(path).st_uid  # its queue is full
    except OSError as error:
        if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
            raise GprocError(f"cannot use the socket {path}: {error.strerror}") from error
        return None
    finally:
        probe.close()
