"""Whether a program leaves files of its own in its working directory: `native/left.c`, in Python."""

from __future__ import annotations

import os
import stat
import time
from typing import Final

ENTRIES_MAX: Final = 4000
"""The most entries that are looked at, in some 10 ms."""

_DEPTH_MAX: Final = 16

_CLOCK_REALTIME_COARSE: Final = 5
"""The clock from which inodes have their times: <linux/time.h>."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StartDirectory:
    """The working directory of this process, before the program starts in it.

    counts: whether its file system is the job's own, so that a number of files tells whether there are new ones.
    """

    def __init__(self, *, counts: bool) -> None:
        """Raises: OSError."""
        self._handle = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._counts = counts
        self._files = self._count_files()
        self._begun_ns = time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
        self._left = ENTRIES_MAX

    def any_left(self) -> bool:
        """Whether a file there is younger than the program's beginning."""
        if self._counts and self._count_files() <= self._files:
            return False
        try:
            device = os.fstat(self._handle).st_dev
            return self._any_below(os.open(".", _FOLDER, dir_fd=self._handle), 0, device)
        except OSError:
            return False

    def _count_files(self) -> int:
        found = os.fstatvfs(self._handle)
        return found.f_files - found.f_ffree

    def _any_below(self, directory: int, depth: int, device: int) -> bool:
        """Takes `directory` over."""
        try:
            for name in os.listdir(directory):
                self._left -= 1
                if self._left < 0:
                    return False
                if not name.startswith(".") and name != "__pycache__" and self._any_at(directory, name, depth, device):
                    return True
        finally:
            os.close(directory)
        return False

    def _any_at(self, directory: int, name: str, depth: int, device: int) -> bool:
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                is_place = not found.st_size and not stat.S_IMODE(found.st_mode)
                return not is_place and min(found.st_mtime_ns, found.st_ctime_ns) >= self._begun_ns
            if stat.S_ISDIR(found.st_mode) and depth < _DEPTH_MAX and found.st_dev == device:
                return self._any_below(os.open(name, _FOLDER, dir_fd=directory), depth + 1, device)
        except OSError:
            pass
        return False
