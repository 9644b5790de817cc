"""Directory trees made, copied and removed below a root that a program may have written to.

No link is followed in a place where the slave's rights could be turned against the node.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_COPY_BYTES: Final = 8 << 20
"""For each sendfile(2): a bound on how long one call takes, large enough that their number does not matter."""


def make_directory(base: bytes, path: bytes, uid: int, gid: int) -> None:
    """Make what is missing of `path` below `base`, each part 0755 and owned by `uid` and `gid`.

    A part that is a link is refused: with a bundle's link /data -> /etc, a working directory /data/x would make
    the slave, as root, give /etc/x to the caller.
    """
    here = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.split(b"/"):
            if not part:
                continue
            made = True
            try:
                os.mkdir(part, 0o755, dir_fd=here)
            except FileExistsError:
                made = False
            try:
                below = os.open(part, _DIRECTORY, dir_fd=here)
            except NotADirectoryError as error:
                raise NotADirectoryError(error.errno, "no directory, or a link", os.fsdecode(base + path)) from error
            if made and os.geteuid() == 0:
                os.chown(part, uid, gid, dir_fd=here, follow_symlinks=False)
            os.close(here)
            here = below
    finally:
        os.close(here)


def copy_tree(source: bytes, at: bytes) -> None:
    """Copy what is below the directory `source` into the directory `at`: owners (as root), modes, links, times.

    File contents go by copy_file_range(2), which shares blocks where the file system can.
    """
    with os.scandir(source) as entries:
        for entry in entries:
            to = at + b"/" + entry.name
            facts = entry.stat(follow_symlinks=False)
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), to)
            elif entry.is_dir():
                os.mkdir(to, 0o700)
                copy_tree(entry.path, to)
            elif entry.is_file():
                _copy_file(entry.path, to, facts.st_size)
            else:
                raise OSError(errno.EINVAL, "neither file, directory nor link", os.fsdecode(entry.path))
            if os.geteuid() == 0:
                os.chown(to, facts.st_uid, facts.st_gid, follow_symlinks=False)
            if not entry.is_symlink():
                os.chmod(to, stat.S_IMODE(facts.st_mode))
                os.utime(to, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _copy_file(source: bytes, to: bytes, size_bytes: int) -> None:
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writer = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copy_bytes(reader, writer, size_bytes)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _copy_bytes(reader: int, writer: int, size_bytes: int) -> None:
    left = size_bytes
    while left > 0:
        try:
            moved = os.copy_file_range(reader, writer, left)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            # Across file systems before 5.3 and after 5.19, and where one of the two does not take part.
            moved = os.sendfile(writer, reader, None, min(left, _COPY_BYTES))
        if moved == 0:
            raise OSError(errno.EIO, "a file of the bundle became shorter while it was copied")
        left -= moved


def remove_tree(path: bytes) -> None:
    """Remove `path` and what is below it.  What cannot be removed stays; `binroot.claim` tries again."""
    parent = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove(os.path.basename(path), parent)
    finally:
        os.close(parent)


def _remove(name: bytes, parent: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        _remove_directory(name, parent)
    except OSError:
        return


def _remove_directory(name: bytes, parent: int) -> None:
    try:
        # A job may have taken its own rights to a directory.  Its processes are gone: nobody swaps it for a link.
        os.chmod(name, 0o700, dir_fd=parent)
        here = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return
    try:
        for below in os.listdir(here):
            _remove(os.fsencode(below), here)
        os.rmdir(name, dir_fd=parent)
    except OSError:
        return
    finally:
        os.close(here)
