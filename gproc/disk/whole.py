"""A file that is written completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, Final

from gproc.disk.special import is_of_descriptors, is_written_in_place

_OWN_MODE: Final = 0o600

_OTHERS: Final = 0o077


@contextlib.contextmanager
def written_whole(path: str, mode: int | None = None) -> Iterator[BinaryIO]:
    """A file for the block to write, which is at `path` when the block has ended, and not at all if it fails.

    mode: its file is never open to others before it has this, whatever the umask, and is whole even if the power fails;
    None: it is as the umask has new files.  The bytes go to a device or a pipe as they come.

    Raises: OSError, a BrokenPipeError too; PermissionError if others must not read it, and a pipe of theirs is there;
    and whatever the block raises.
    """
    if is_written_in_place(path):
        is_secret = mode is not None and not mode & _OTHERS and not is_of_descriptors(path)
        with open(path, "wb", opener=_for_no_other if is_secret else None) as file:
            yield file
        return
    beside = f"{path}.{os.urandom(8).hex()}.new"
    try:
        with open(beside, "xb", opener=_as_new_files_are if mode is None else _closed_to_others) as file:
            yield file
            if mode is not None:
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
        os.rename(beside, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside)


def _for_no_other(path: str, flags: int) -> int:
    """Open a pipe or a device for a secret.

    A directory in which root writes keys may be a user's.  So another user may have made this, may be able to read it,
    or puts a link to a file of root's in its place just now: it is not followed, and not emptied.  Raises: OSError.
    """
    descriptor = os.open(path, flags & ~(os.O_TRUNC | os.O_CREAT) | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise PermissionError(errno.EPERM, "it has become a file while it was opened")
        if status.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EPERM, f"it is a pipe or a device of uid {status.st_uid}, who would read it")
        if stat.S_ISFIFO(status.st_mode) and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
            raise PermissionError(errno.EPERM, "it is a pipe that other users may read (chmod 600 changes that)")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _as_new_files_are(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def _closed_to_others(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _OWN_MODE)
