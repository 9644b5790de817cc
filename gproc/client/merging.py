"""Keeps the output of many nodes as it comes; equal output is kept only once.

The outputs make a tree of stems (a radix tree): outputs that begin alike share a stem, and part where they differ.
The bytes are in one file without a name, so memory is bounded by the number of pieces, however long the outputs are.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import IO, Final, NamedTuple

READ_BYTES: Final = 256 << 10
"""The most that is read from the file at once."""


class _Stem:
    """What is common to all outputs that lead through here: the bytes from offset `begin` up to `end`.

    Its bytes come in pieces: starts[i] is the offset of a piece in the outputs, places[i] in the file.
    forks: the outputs that part from it, by the offset and by their first byte there.
    """

    __slots__ = ("begin", "end", "forks", "parent", "places", "starts")

    def __init__(self, parent: _Stem | None, begin: int) -> None:
        self.parent = parent
        self.begin = self.end = begin
        self.starts: list[int] = []
        self.places: list[int] = []
        self.forks: dict[tuple[int, int], _Stem] = {}


class Reached(NamedTuple):
    """How far an output has come.  Two outputs are equal if and only if their positions are."""

    stem: _Stem
    offset: int

    def leads_to(self, other: Reached) -> bool:
        """Whether an output that is here now may become equal to one that has ended at `other`."""
        stem, offset = other
        while stem is not self.stem:
            if stem.parent is None:
                return False
            stem, offset = stem.parent, stem.begin
        return self.offset <= offset


class Merged:
    """The outputs of one stream, by rank."""

    def __init__(self) -> None:
        self._root = _Stem(None, 0)
        self._position: dict[int, Reached] = {}
        self._file: IO[bytes] | None = None
        self._size = 0

    def position(self, rank: int) -> Reached:
        """How far the output of a rank has come."""
        return self._position.get(rank) or Reached(self._root, 0)

    def feed(self, rank: int, data: memoryview) -> None:
        """Take output of a rank.  Raises: OSError if it cannot be kept."""
        stem, at = self.position(rank)
        while data:
            if at == stem.end:
                self._append(stem, data)
                at = stem.end
                break
            known = self._read(stem, at, len(data))
            count = _common(known, data)
            at, data = at + count, data[count:]
            if data and count < len(known):
                fork = stem.forks.get((at, data[0]))
                if fork is None:
                    fork = stem.forks[at, data[0]] = _Stem(stem, at)
                stem = fork
        self._position[rank] = Reached(stem, at)

    def groups(self, ranks: Iterable[int]) -> dict[Reached, list[int]]:
        """The ranks whose outputs are equal, together; those without output are left out."""
        found: dict[Reached, list[int]] = {}
        for rank in ranks:
            if (position := self.position(rank)).offset:
                found.setdefault(position, []).append(rank)
        return found

    def content(self, position: Reached) -> Iterator[bytes]:
        """An output up to this position, in pieces.  Raises: OSError."""
        way = [position]
        while (parent := way[-1].stem.parent) is not None:
            way.append(Reached(parent, way[-1].stem.begin))
        for stem, upto in reversed(way):
            at = stem.begin
            while at < upto:
                piece = self._read(stem, at, upto - at)
                at += len(piece)
                yield piece

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _append(self, stem: _Stem, data: memoryview) -> None:
        if self._file is None:
            from tempfile import TemporaryFile  # 6 ms

            self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - close() closes it
        written = 0
        while written < len(data):
            written += os.pwrite(self._file.fileno(), data[written:], self._size + written)
        follows = stem.starts and stem.places[-1] + stem.end - stem.starts[-1] == self._size
        if not follows:
            stem.starts.append(stem.end)
            stem.places.append(self._size)
        stem.end += len(data)
        self._size += len(data)

    def _read(self, stem: _Stem, at: int, size: int) -> bytes:
        """Bytes of a stem from offset `at` on: at least one, and not more than this."""
        assert self._file is not None
        number = bisect_right(stem.starts, at) - 1
        piece_end = stem.starts[number + 1] if number + 1 < len(stem.starts) else stem.end
        place = stem.places[number] + at - stem.starts[number]
        data = os.pread(self._file.fileno(), min(size, piece_end - at, READ_BYTES), place)
        if not data:
            raise OSError(0, "the file of kept output has been cut")
        return data


def _common(known: bytes, data: memoryview) -> int:
    """How many bytes are the same in both from the beginning on.  `known` is not longer than `data`."""
    if known == data[: len(known)]:
        return len(known)
    low, high = 0, len(known)
    while high - low > 1:
        middle = (low + high) // 2
        if known[low:middle] == data[low:middle]:
            low = middle
        else:
            high = middle
    return low
