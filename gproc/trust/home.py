"""`$GPROC_HOME`: its place, its owner, and how files are written into it.

Its files are trusted because no other user can write there, and secret because no other user can read there.  Both are
checked each time, for the directory and for every key.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from gproc.bundle.surroundings import working_directory
from gproc.disk.trusted import make_trusted
from gproc.disk.whole import written_whole
from gproc.environment import base_directory
from gproc.errors import TrustError

HOME_MODE: Final = 0o700
SECRET_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644

FILE_BYTES_MAX: Final = 64 << 20
"""Bytes of the largest file, a backup of the cluster's keys.  A file that is named by mistake, such as /dev/zero, may
have no end."""

_OTHERS: Final = 0o077

_PEM_KEY: Final = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----\n([A-Za-z0-9+/=\n]+)-----END \1-----\n")


class InsecureFile(TrustError):
    """A file or directory that another user owns, or that others can read or write."""

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(path, reason, remedy)
        self.path = path
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.path} {self.reason}, so keys in it cannot be trusted: {self.remedy}"


def gproc_home(environ: Mapping[str, str], *, make: bool = True) -> str:
    """The absolute path of this user's gproc directory, which is made (0700) if it is missing and `make` is true.

    It is $GPROC_HOME, else gproc below $XDG_CONFIG_HOME, else ~/.config/gproc.  A relative $XDG_CONFIG_HOME counts as
    unset: XDG Base Directory Specification.

    Raises: InsecureFile; TrustError if it cannot be made or is not a directory.
    """
    home = home_path(environ)
    if not make and not os.path.lexists(home):
        return home
    try:
        reason = make_trusted(home, HOME_MODE)
    except OSError as error:
        raise TrustError(f"cannot make {home} for gproc's keys: {error.strerror}; or set GPROC_HOME") from error
    if reason and os.geteuid() == 0:
        raise InsecureFile(home, f"could be exchanged by others: {reason}", "set GPROC_HOME to another directory")
    check_private(home)  # of other users it says what is wrong
    return home


def check_private(path: str) -> None:
    """Check that only this user owns, reads and writes `path`.

    Raises: InsecureFile, with the command that repairs it; FileNotFoundError.
    """
    status = os.stat(path)
    if status.st_uid != os.geteuid():
        raise InsecureFile(
            path,
            f"belongs to uid {status.st_uid} and gproc runs as uid {os.geteuid()}",
            f"set GPROC_HOME to a directory of your own, or if {_quoted(path)} is to be yours, have its owner changed",
        )
    mode = status.st_mode & 0o7777
    if mode & _OTHERS:
        raise InsecureFile(
            path,
            f"is open to other users (mode {mode:04o})",
            f"run `chmod {mode & ~_OTHERS:04o} {_quoted(path)}`",
        )


def check_key(path: str) -> None:
    """Raises: InsecureFile; TrustError if it is no whole PEM file of a private key.

    The key itself is looked at when it is used, because the library for that takes 60 ms to load.
    """
    check_private(path)
    if not is_key(read_file(path)):
        raise TrustError(f"{path} is damaged: give it back from a backup (`gproc key restore FILE`)")


def is_key(content: bytes) -> bool:
    """Whether this is a whole PEM file of a private key."""
    found = _PEM_KEY.fullmatch(content)
    try:
        return found is not None and _is_whole(base64.b64decode(found[2]))
    except ValueError:
        return False


def _is_whole(der: bytes) -> bool:
    """Whether this is one sequence of X.690, as long as it says: in one byte, or in as many as that one says."""
    if len(der) < 2 or der[0] != 0x30:
        return False
    more = der[1] - 0x80 if der[1] > 0x80 else 0
    size = int.from_bytes(der[2 : 2 + more], "big") if more else der[1]
    return len(der) == 2 + more + size


def read_file(path: str) -> bytes:
    """Raises: TrustError, which names the file; also if the file does not exist, or has more than `FILE_BYTES_MAX`."""
    try:
        with open(path, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise TrustError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise TrustError(f"cannot read {path}: it has more than {FILE_BYTES_MAX >> 20} MiB, so it is none of gproc's")
    return content


def write_file(path: str, data: bytes, mode: int) -> None:
    """Write `data` to `path`, as `written_whole` does.  Raises: TrustError; BrokenPipeError."""
    try:
        with written_whole(path, mode) as file:
            file.write(data)
    except BrokenPipeError:
        raise  # the reader of our standard output has gone
    except OSError as error:
        raise TrustError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def locked(home: str, name: str = "lock", waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock for making keys in `home`, or another one of it, which excludes other processes and threads.

    waiting: called if another holds it.  The kernel releases it when its holder ends.
    """
    import fcntl

    with open(os.path.join(home, name), "ab", opener=_closed_to_others) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def home_path(environ: Mapping[str, str]) -> str:
    """Its path, even if it does not exist.  Raises: TrustError if this user has no home directory."""
    chosen = environ.get("GPROC_HOME", "")
    if chosen:
        return os.path.normpath(chosen if os.path.isabs(chosen) else os.path.join(working_directory(), chosen))
    config = base_directory(environ, "XDG_CONFIG_HOME", ".config", "")
    if not config:
        raise TrustError(f"uid {os.geteuid()} has no home directory: set GPROC_HOME")
    return os.path.join(config, "gproc")


def _closed_to_others(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, SECRET_MODE)


def _quoted(path: str) -> str:
    from shlex import quote

    return quote(path)
