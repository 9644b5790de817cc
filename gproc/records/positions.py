"""Up to where each stream of a job is in its spool, and which of its ranks have ended: kept, and found again.  Pure.

A bound drops the oldest files of a spool whole.  So each new file begins with all that a master needs after a crash: an
entry without data for each stream, whose offset says how much came before, and the end of each rank that has ended.
"""

from __future__ import annotations

from collections.abc import Iterator

from gproc.records.entries import END, Broken, RankEnd, SpoolEntry, head_of, packed, rank_end
from gproc.relay.delivery import StreamDigest
from gproc.wire import frames


class Positions:
    """The positions of one job that runs."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, int], int] = {}
        self._ends: dict[int, bytes] = {}

    def add(self, entry: bytes) -> None:
        """This entry comes next, on the disk or not."""
        head = head_of(entry)
        if head.kind == END:
            self._ends[head.rank] = entry
        else:
            self._next[head.rank, head.kind] = head.offset + head.size

    def entries(self, time_s: float) -> Iterator[bytes]:
        """The entries that say where all streams are, and which ranks have ended.  time_s: Unix time."""
        for (rank, stream), offset in self._next.items():
            yield packed(SpoolEntry(rank, stream, offset, time_s, b""))
        yield from self._ends.values()


class FoundSpool:
    """What the spool of a job holds whose master has crashed: `add` each entry in order.

    sizes: by rank and stream, how much of it has come, dropped or not.  digests: of the streams that are here from
    their first byte on.  ends: of the ranks that have ended.
    """

    def __init__(self) -> None:
        self.sizes: dict[tuple[int, int], int] = {}
        self.digests: dict[tuple[int, int], StreamDigest] = {}
        self.ends: dict[int, RankEnd] = {}
        self.positions = Positions()
        self._incomplete: set[tuple[int, int]] = set()

    def add(self, entry: SpoolEntry) -> None:
        """An end that cannot be read is none: its node says it once more."""
        if entry.kind == END:
            try:
                self.ends[entry.rank] = rank_end(entry)
            except Broken:
                return
            self.positions.add(packed(entry))
            return
        key, have = (entry.rank, entry.kind), self.sizes.get((entry.rank, entry.kind), 0)
        if entry.offset < have:
            return  # no master has written this
        if entry.offset > have:
            self._incomplete.add(key)
        if entry.data:
            self.digests.setdefault(key, StreamDigest()).add(entry.data)
        self.sizes[key] = entry.offset + len(entry.data)
        self.positions.add(packed(entry))

    def is_whole(self, rank: int, stream: int) -> bool:
        """Whether all of a stream so far is in the spool, so that its digest is known."""
        return (rank, stream) not in self._incomplete

    def said(self, rank: int) -> tuple[int, int]:
        return self.sizes.get((rank, frames.STDOUT), 0), self.sizes.get((rank, frames.STDERR), 0)
