"""Where the holes of a file are."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Final, NamedTuple

RUNS_PER_SIZE: Final = 4096
"""After this many holes, only holes of twice the length are kept, and so on: a file may have one after each block."""


class Segment(NamedTuple):
    """A part of a file that is all data or all hole."""

    offset: int
    length: int
    hole: bool


def segments(handle: int, length: int, begin: int = 0) -> list[Segment] | None:
    """The data and holes of `length` bytes from `begin` on, in order, or None if there is no hole.  Raises: OSError."""
    end = begin + length
    holes = list(_holes(handle, begin, end))
    if not holes:
        return None
    found: list[Segment] = []
    at = begin
    for first, last in holes:
        if first > at:
            found.append(Segment(at, first - at, False))
        found.append(Segment(first, last - first, True))
        at = last
    if at < end:
        found.append(Segment(at, end - at, False))
    return found


def data_from(handle: int, at: int) -> int:
    """Where data begins, from there on: a disk image of 100 GB may be one hole.  A file system may not report any.

    If nothing but a hole is left it is the size of the file, or `at` if the file is shorter.
    """
    try:
        return os.lseek(handle, at, os.SEEK_DATA)
    except OSError as error:
        return max(at, os.fstat(handle).st_size) if error.errno == errno.ENXIO else at


def _holes(handle: int, at: int, end: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each hole that the file system reports.  Raises: OSError."""
    count = 0
    least = 1
    while at < end:
        first = _seek(handle, at, os.SEEK_HOLE, end)
        if first == end:
            return
        at = _seek(handle, first, os.SEEK_DATA, end)
        if at - first >= least:
            yield first, at
            count += 1
            if count % RUNS_PER_SIZE == 0:
                least = max(least, 2048) * 2


def _seek(handle: int, offset: int, whence: int, end: int) -> int:
    """Where the next hole or data begins, at most `end`."""
    try:
        return min(os.lseek(handle, offset, whence), end)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.EINVAL):
            raise
        return end  # the hole reaches to the end, or the file became shorter, or the file system does not report holes
