"""Output arrives whole, in order and once, although each relay between a program and the master may die.  Pure.

Each output stream of a rank counts its bytes from 0.  The node of the rank keeps what the master has not acknowledged
(`KeptOutput`).  When another way leads to the node, the master says how much it has, and the node sends the rest again.
The master drops what it has already, and what comes too early (`ReceivedOutput`).  A relay never holds the only copy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from blake3 import blake3

from gproc.request.spec import Request
from gproc.wire.credit import MAX_WINDOW_BYTES, quantum
from gproc.wire.frames import FILES, STDERR, STDOUT

KEPT_BYTES: Final = MAX_WINDOW_BYTES
"""The most bytes that a node keeps of one stream.  A program that is so far ahead of the master waits."""

ACKNOWLEDGED_BYTES: Final = quantum(KEPT_BYTES)
"""The master acknowledges a stream in such steps: a short output needs no acknowledgement before its job's end.  If a
job has smaller windows, its nodes keep less, and the steps are half of that: each is signed."""


def streams_of(request: Request) -> tuple[int, ...]:
    """The output streams of a job's ranks."""
    return (STDOUT, STDERR, FILES) if request.collect else (STDOUT, STDERR)


EMPTY: Final = blake3(b"").digest()
"""The digest of a stream without a byte."""


class StreamDigest:
    """The BLAKE3 digest of a stream as it grows: 2,000 bytes of memory.  Most streams stay empty, and cost nothing."""

    def __init__(self) -> None:
        self._hash: blake3 | None = None

    def add(self, data: bytes | memoryview) -> None:
        if self._hash is None:
            self._hash = blake3()
        self._hash.update(data)

    def value(self) -> bytes:
        return EMPTY if self._hash is None else self._hash.digest()


class KeptOutput:
    """One output stream of one program, at its node.

    window_bytes: the credit of its first hop.
    """

    def __init__(self, window_bytes: int) -> None:
        self._credit = window_bytes
        self._frame_bytes = quantum(window_bytes)
        self._kept: deque[bytes] = deque()
        self._begin = 0
        """The offset of the first byte that is kept."""
        self._end = 0
        self._sent = 0
        self._digest = StreamDigest()

    @property
    def end(self) -> int:
        """How many bytes there are so far."""
        return self._end

    @property
    def all_sent(self) -> bool:
        """Whether all that there is has been sent."""
        return self._sent == self._end

    @property
    def digest(self) -> bytes:
        """The digest of all that there is so far."""
        return self._digest.value()

    def add(self, data: bytes) -> None:
        """The program has written this."""
        if data:
            self._digest.add(data)
            self._kept.append(data)
            self._end += len(data)

    def grant(self, size: int) -> None:
        """The first hop has room for more."""
        self._credit += size

    def take(self) -> Iterator[tuple[int, bytes]]:
        """What can be sent now: offset and data of each frame."""
        while self._credit and self._sent < self._end:
            begin = self._sent
            data = self._at(begin)[: min(self._credit, self._frame_bytes)]
            self._sent += len(data)
            self._credit -= len(data)
            yield begin, data

    def acknowledge(self, offset: int) -> int:
        """The master has everything before this offset.  Returns how many bytes need not be kept any more."""
        freed = 0
        while self._kept and self._begin + len(self._kept[0]) <= offset:
            size = len(self._kept.popleft())
            self._begin += size
            freed += size
        self._sent = max(self._sent, self._begin)
        return freed

    def rewind(self, offset: int) -> int:
        """Send again what comes after this offset.  No byte is dropped: only the master's signed acknowledgement does
        that.

        Returns the offset of the first byte that is sent: it is larger if a master has had more.
        """
        self._sent = min(self._end, max(self._begin, offset))
        return self._sent

    def _at(self, offset: int) -> bytes:
        """The piece that was read at once and holds this offset, from there on."""
        if offset == self._end - len(self._kept[-1]):
            return self._kept[-1]
        begin = self._begin
        for data in self._kept:
            if offset < begin + len(data):
                return data[offset - begin :]
            begin += len(data)
        raise AssertionError(f"offset {offset} is not kept")


class ReceivedOutput:
    """All output streams of one job, at the master.

    It acknowledges what has come.  If output is kept on the disk (`keep_all`), it acknowledges what is on the disk, so
    that a crash of the master loses none.  Files that a job brings back are for its client alone, and never kept.
    """

    def __init__(self, window_bytes: int = KEPT_BYTES) -> None:
        """window_bytes: what a node keeps of each stream."""
        self._step_bytes = min(ACKNOWLEDGED_BYTES, max(1, window_bytes // 2))
        self._have: dict[tuple[int, int], int] = {}
        self._kept: dict[tuple[int, int], int] | None = None
        self._finished: set[int] = set()
        self._acknowledged: dict[tuple[int, int], int] = {}
        self._let_go: dict[tuple[int, int], int] = {}
        """For each stream, the offset up to which nodes were told to drop output before output was kept, if that output
        is not on the disk yet."""

    def have(self, rank: int, stream: int) -> int:
        """How many bytes of this stream are here."""
        return self._have.get((rank, stream), 0)

    def keep_all(self, kept: Mapping[tuple[int, int], int]) -> None:
        """Acknowledge a stream only as far as `keep` says, from now on. kept: how far that is now."""
        self._kept = dict(kept)
        self._let_go = {each: size for each, size in self._acknowledged.items() if each[1] != FILES}

    def keep(self, rank: int, stream: int, offset: int) -> None:
        """This stream is on the disk up to this offset."""
        if self._kept is not None:
            self._kept[rank, stream] = offset
            if offset >= self._let_go.get((rank, stream), 0):
                self._let_go.pop((rank, stream), None)

    @property
    def is_kept(self) -> bool:
        """Whether all output that nodes were told to drop is on the disk."""
        return self._kept is not None and not self._let_go

    def began_at(self, rank: int, stream: int, offset: int) -> None:
        """A former master has had so much of this stream, on its disk."""
        self._have[rank, stream] = offset

    def _safe(self, rank: int, stream: int) -> int:
        safe = self._have if self._kept is None or stream == FILES else self._kept
        return safe.get((rank, stream), 0)

    def total(self, stream: int) -> int:
        """How many bytes of this stream of all ranks are here."""
        return sum(size for (_, each), size in self._have.items() if each == stream)

    def finish(self, rank: int) -> None:
        """A rank has ended.  What comes of it later is dropped."""
        self._finished.add(rank)

    def is_finished(self, rank: int) -> bool:
        return rank in self._finished

    def take_bytes(self, rank: int, stream: int, offset: int, size: int) -> int:
        """Count `size` bytes that have come.  Returns how many of them, from the first, are to be dropped."""
        have = self.have(rank, stream)
        if offset > have or offset + size <= have or rank in self._finished:
            return size
        self._have[rank, stream] = offset + size
        return have - offset

    def to_acknowledge(self, rank: int, stream: int) -> int:
        """The offset to acknowledge now; 0: it is not worth a message yet."""
        safe = self._safe(rank, stream)
        if safe - self._acknowledged.get((rank, stream), 0) < self._step_bytes:
            return 0
        self._acknowledged[rank, stream] = safe
        return safe

    def acknowledge(self, rank: int, stream: int) -> int:
        """The offset to acknowledge to a node that may have missed it; 0: there is nothing yet."""
        safe = self._acknowledged[rank, stream] = self._safe(rank, stream)
        return safe
