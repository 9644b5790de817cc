"""Tells a person once of a switch that would have helped."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final
from zlib import crc32

from gproc.bundle.cache import default_directory

NODES_MIN: Final = 5
"""With fewer nodes, equal output does not hide anything."""


class EqualOutput:
    """Notices that all nodes print the same.  tell: called with a sentence then, once in the life of a user's cache."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._sums: list[tuple[int, int]] = []

    def begin(self, nodes: int) -> None:
        self._sums = [(0, 0)] * nodes if nodes >= NODES_MIN else []

    def feed(self, rank: int, data: memoryview) -> None:
        if self._sums:
            size, check = self._sums[rank]
            self._sums[rank] = size + len(data), crc32(data, check)

    def finish(self) -> None:
        if self._sums and self._sums[0][0] and len(set(self._sums)) == 1 and _is_first_time("equal-output"):
            self._tell(f"all {len(self._sums)} nodes printed the same: -b shows it once")


def _is_first_time(name: str) -> bool:
    """Whether this user has not been told yet.  From now on the user has."""
    try:
        directory = os.path.join(os.path.dirname(default_directory(os.environ)), "told")
        os.makedirs(directory, exist_ok=True)
        os.close(os.open(os.path.join(directory, name), os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        return False
    return True
