"""What a look at files rested on, so that the look need not be repeated as long as all of that is the same."""

from __future__ import annotations

import os
import stat
import time
from typing import Final

SETTLED_NS: Final = 100_000_000
"""Two changes within a tick of the kernel's clock give an inode one ctime; ticks are 10 ms at most."""

SEEN_MAX: Final = 4096
"""Paths of one look.  A bundle of a usual program makes 50; a look at more is repeated each time."""

Brief = tuple[int, int, int, int] | None


def brief(found: os.stat_result | None) -> Brief:
    """A value that changes if the name leads to another inode or to none, or if the inode's content, mode or owner
    changes.

    Of a directory only what its own inode says: its ctime changes with every name in it.
    """
    if found is None:
        return None
    if stat.S_ISDIR(found.st_mode):
        return (found.st_dev, found.st_ino, found.st_mode, found.st_uid)
    return (found.st_dev, found.st_ino, found.st_mode, found.st_ctime_ns)


class SeenFiles:
    """The names that one look asked for, without following a link in the last part, and the directories it listed."""

    def __init__(self, top: bytes) -> None:
        """top: what all paths are below; b"" for the root."""
        self._top = top
        self._began_ns = time.time_ns()
        self._newest_ns = 0
        self._names: dict[bytes, Brief] = {}
        self._listed: dict[bytes, tuple[int, int] | None] = {}
        self._torn = False

    def saw(self, path: bytes, found: os.stat_result | None) -> None:
        """This is at that real path, b"" for the top; None: nothing is, or nothing that we may see."""
        now = brief(found)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            self._newest_ns = max(self._newest_ns, found.st_ctime_ns)
        self._torn = self._torn or self._names.setdefault(path, now) != now

    def listed(self, path: bytes, found: os.stat_result) -> None:
        """The names in this directory are going to be read."""
        self._newest_ns = max(self._newest_ns, found.st_ctime_ns)
        self._listed[path] = (found.st_mtime_ns, found.st_ctime_ns)

    @property
    def is_settled(self) -> bool:
        """Whether `is_same` can tell: a file that changed a moment ago could change again with the same ctime."""
        few = len(self._names) + len(self._listed) <= SEEN_MAX
        return few and not self._torn and self._newest_ns < self._began_ns - SETTLED_NS

    def is_same(self) -> bool:
        """Whether all of it is as it was.  This takes some 2 us for each name."""
        return all(brief(self._status(path)) == known for path, known in self._names.items()) and all(
            self._times(path) == known for path, known in self._listed.items()
        )

    def _times(self, path: bytes) -> tuple[int, int] | None:
        found = self._status(path)
        return None if found is None else (found.st_mtime_ns, found.st_ctime_ns)

    def _status(self, path: bytes) -> os.stat_result | None:
        try:
            return os.lstat(self._top + path or b"/")
        except OSError:
            return None
