"""Makes, copies and removes directory trees, even if a program has changed them or still does.

Everything is done relative to the descriptor of a directory, with names of one part.  No link is followed, so nothing
outside of the tree is touched, whatever another process exchanges meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from contextlib import suppress
from typing import Final

from gproc.content.holes import Segment, segments

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HANDLE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_COPY_BYTES: Final = 8 << 20
"""For each sendfile(2): a bound on how long one call takes, large enough that their number does not matter."""

_TRIES: Final = 3
"""Passes over one directory that another process still writes to, before it is left."""


def make_directory(base: bytes, path: bytes, uid: int, gid: int) -> None:
    """Make what is missing of `path` below the directory `base`, each part 0755 and owned by `uid` and `gid`.

    Raises: OSError if a part is "..", a link or a file.  With a bundle's link /data -> /etc, or a working directory
    /../../etc/x, a slave that is root would give a directory in /etc to its caller.
    """
    here = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.split(b"/"):
            if part in (b"", b"."):
                continue
            if part == b"..":
                raise NotADirectoryError(errno.ENOTDIR, "'..' is no part of a directory's name", os.fsdecode(path))
            below = _entered(part, here, uid, gid, os.fsdecode(base + path))
            os.close(here)
            here = below
    finally:
        os.close(here)


def _entered(part: bytes, here: int, uid: int, gid: int, shown: str) -> int:
    """An O_PATH descriptor of the directory `part` in `here`, which is made if it is missing."""
    made = True
    try:
        os.mkdir(part, 0o755, dir_fd=here)
    except FileExistsError:
        made = False
    try:
        below = os.open(part, _HANDLE | os.O_DIRECTORY, dir_fd=here)
    except NotADirectoryError as error:
        raise NotADirectoryError(error.errno, "no directory, or a link", shown) from error
    if not made or os.geteuid() != 0:
        return below
    try:
        own = os.open(b".", _DIRECTORY, dir_fd=below)
        try:
            os.fchown(own, uid, gid)
        finally:
            os.close(own)
    except OSError:
        os.close(below)
        raise
    return below


def copy_tree(source: bytes, at: bytes) -> None:
    """Copy what is below the directory `source` into the directory `at`: owners (as root), modes, links, times.

    Neither `source` nor `at` may be a link.  Only this process may reach `at` before this returns.
    """
    reader = os.open(source, _DIRECTORY)
    try:
        writer = os.open(at, _DIRECTORY)
        try:
            _copy_below(reader, writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _copy_below(source: int, to: int) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            name = entry.name
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(facts.st_mode):
                os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=to)
                if os.geteuid() == 0:
                    os.chown(name, facts.st_uid, facts.st_gid, dir_fd=to, follow_symlinks=False)
            elif stat.S_ISDIR(facts.st_mode):
                _copy_directory(name, source, to, facts)
            elif stat.S_ISREG(facts.st_mode):
                _copy_file(name, source, to, facts)
            else:
                raise OSError(errno.EINVAL, "neither file, directory nor link", name)


def _copy_directory(name: str, source: int, to: int, facts: os.stat_result) -> None:
    os.mkdir(name, 0o700, dir_fd=to)
    below = os.open(name, _DIRECTORY, dir_fd=to)
    try:
        reader = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            _copy_below(reader, below)
        finally:
            os.close(reader)
        _give(below, facts)
    finally:
        os.close(below)


def _copy_file(name: str, source: int, to: int, facts: os.stat_result) -> None:
    """The bytes go by copy_file_range(2), which shares blocks if the file system can."""
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=to)
        try:
            if facts.st_blocks * 512 < facts.st_size:
                _copy_around_holes(reader, writer, facts.st_size)
            else:
                _copy_bytes(reader, writer, facts.st_size)
            _give(writer, facts)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _give(made: int, facts: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(made, facts.st_uid, facts.st_gid)
    os.fchmod(made, stat.S_IMODE(facts.st_mode))
    os.utime(made, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def _copy_around_holes(reader: int, writer: int, size_bytes: int) -> None:
    for part in segments(reader, size_bytes) or [Segment(0, size_bytes, hole=False)]:
        if not part.hole:
            os.lseek(reader, part.offset, os.SEEK_SET)
            os.lseek(writer, part.offset, os.SEEK_SET)
            _copy_bytes(reader, writer, part.length)
    os.ftruncate(writer, size_bytes)


def _copy_bytes(reader: int, writer: int, size_bytes: int) -> None:
    left = size_bytes
    while left > 0:
        try:
            moved = os.copy_file_range(reader, writer, left)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            # Across file systems before 5.3 and after 5.19, and if one of the two does not take part.
            moved = os.sendfile(writer, reader, None, min(left, _COPY_BYTES))
        if moved == 0:
            raise OSError(errno.EIO, "a file of the bundle became shorter while it was copied")
        left -= moved


def remove_tree(path: bytes, most: int | None = None) -> bool:
    """Remove `path` and all below it.  Entries that cannot be removed stay, and so does what is mounted below it.

    most: how many entries to look at; None: all.  Returns False if there are more.
    """
    try:
        parent = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True
    name = os.path.basename(path)
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        with suppress(OSError):
            top = _opened(name, parent)
            try:
                if not _Removal(top, most).done():
                    return False
            finally:
                os.close(top)
            os.rmdir(name, dir_fd=parent)
    except OSError:
        return True
    finally:
        os.close(parent)
    return True


class _Removal:
    """One tree on its way out.

    Directories that lie deeper are first moved up into the top one.  So no depth that a program made is too deep: it
    takes two descriptors and no recursion.
    """

    def __init__(self, top: int, most: int | None) -> None:
        self._top = top
        self._device = os.fstat(top).st_dev
        self._left = most
        self._waiting: deque[bytes] = deque()

    def done(self) -> bool:
        self._waiting.extend(self._emptied(self._top))
        while self._waiting and (self._left is None or self._left > 0):
            self._remove_directory(self._waiting.popleft())
        return self._left is None or self._left > 0

    def _emptied(self, here: int) -> list[bytes]:
        """Unlink what is no directory.  Returns the names of the directories."""
        directories = []
        with os.scandir(here) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if self._left is not None:
                    self._left -= 1
                    if self._left < 0:
                        break
                try:
                    os.unlink(name, dir_fd=here)
                except IsADirectoryError:
                    directories.append(name)
                except OSError:
                    continue
        return directories

    def _remove_directory(self, name: bytes) -> None:
        """A directory in the top one."""
        try:
            here = _opened(name, self._top)
        except OSError:
            return
        try:
            if os.fstat(here).st_dev != self._device:
                return
            for _ in range(_TRIES):
                for below in self._emptied(here):
                    self._move_up(below, here)
                if self._left is not None and self._left <= 0:
                    return
                with suppress(OSError):
                    os.rmdir(name, dir_fd=self._top)
                    return
        except OSError:
            return
        finally:
            os.close(here)

    def _move_up(self, name: bytes, here: int) -> None:
        to = b".gproc-" + os.urandom(8).hex().encode()
        try:
            os.rename(name, to, src_dir_fd=here, dst_dir_fd=self._top)
        except PermissionError:
            # Its own `..` changes, so moving a directory takes the right to write to it.
            with suppress(OSError):
                os.close(_opened(name, here))
                os.rename(name, to, src_dir_fd=here, dst_dir_fd=self._top)
                self._waiting.append(to)
        except OSError:
            return
        else:
            self._waiting.append(to)


def _opened(name: bytes, parent: int) -> int:
    """The directory, to be read and emptied; a job may have taken its own rights to it.  Raises: OSError."""
    if os.geteuid() != 0:
        found = os.open(name, _HANDLE | os.O_DIRECTORY, dir_fd=parent)
        try:
            # By this name it is the very directory that was opened, and no link that took its place.
            os.chmod(b"/proc/self/fd/%d" % found, 0o700)
        finally:
            os.close(found)
    return os.open(name, _DIRECTORY, dir_fd=parent)
