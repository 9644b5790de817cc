"""What the ranks below one child have alike goes up the link of that child once.  Pure.

Nodes that run the same command mostly say the same, at the same offsets of their streams.  So a relay remembers the
last output of a job that it has sent to its parent, and the parent keeps it: both drop the oldest by the same rule.
What another rank says alike is sent as a reference (`wire.merging.SameOutput`), which the parent replaces by the bytes
before anything else sees them.  Credit, offsets, acknowledgements and digests count those bytes as if they had come.

This concerns one link: after a change of parent, both ends begin with nothing.  Bytes are compared, not digests.
`relay.announcing` and `relay.common` handle what several children of one parent have alike.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sized
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from gproc.errors import PeerError
from gproc.relay.announcing import Announcer
from gproc.wire import frames
from gproc.wire.merging import AnnounceOutput, SameOutput
from gproc.wire.offer import MergeOffer

LINK_BYTES: Final = 4 << 20
"""Bytes that a parent keeps of one job for one child: its nodes may be so far apart in what they say."""

JOB_BYTES: Final = 8 << 20
"""Bytes that it keeps of one job for all children: half of what one stream of a job may have waiting at a hop."""

LEAST_BYTES: Final = 64
"""A reference takes some 25 bytes, as does the head of a STDIO frame: shorter output is sent, and not kept."""

CANDIDATES_MAX: Final = 16
"""Different outputs of one offset with which a new output is compared."""

TRIES_MAX: Final = 16
"""How many times a frame is searched on after a part that is new: then the rest of it is sent."""

PIECES_MAX: Final = 4096
"""Kept for one link and job: each costs 200 bytes besides its data."""

_epochs = itertools.count(1)
"""A process never makes two offers of one number."""


class SentPiece(NamedTuple):
    """Output that was sent in a STDIO frame, or announced."""

    rank: int
    offset: int
    data: bytes


class LostPiece(NamedTuple):
    """Output that was announced and never came.  data: as many numbers as it had bytes."""

    offset: int
    data: range


class OutputPart(Protocol):
    """Part of the output of a stream."""

    @property
    def offset(self) -> int: ...

    @property
    def data(self) -> Sized: ...


P = TypeVar("P", bound=OutputPart)


class Recent(Generic[P]):
    """The last pieces, at most so many bytes of them, sorted by offset under each key.

    Both ends of a link note the same pieces in the same order.  One that began earlier has what the other one has.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._order: deque[tuple[Hashable, P]] = deque()
        self._by_key: dict[Hashable, list[P]] = {}

    def note(self, key: Hashable, piece: P) -> None:
        if len(piece.data) < LEAST_BYTES or not self._most_bytes:
            return
        pieces = self._by_key.setdefault(key, [])
        pieces.insert(bisect_right(pieces, piece.offset, key=_offset), piece)
        self._order.append((key, piece))
        self._bytes += len(piece.data)
        self._drop_oldest()

    def keep_at_most(self, most_bytes: int) -> None:
        """Keep this number of bytes from now on."""
        self._most_bytes = most_bytes
        self._drop_oldest()

    def covering(self, key: Hashable, offset: int) -> Iterator[P]:
        """The pieces that have a byte at this offset, the last ones first: at most CANDIDATES_MAX are looked at."""
        pieces = self._by_key.get(key, [])
        end = bisect_right(pieces, offset, key=_offset)
        for piece in reversed(pieces[max(0, end - CANDIDATES_MAX) : end]):
            if offset < piece.offset + len(piece.data):
                yield piece

    def _drop_oldest(self) -> None:
        while self._bytes > self._most_bytes or len(self._order) > PIECES_MAX:
            self._drop(*self._order.popleft())

    def _drop(self, key: Hashable, piece: P) -> None:
        self._bytes -= len(piece.data)
        pieces = self._by_key[key]
        at = bisect_right(pieces, piece.offset, key=_offset) - 1
        while pieces[at] is not piece:
            at -= 1
        del pieces[at]
        if not pieces:
            del self._by_key[key]


class _Alike(NamedTuple):
    """`size` bytes, from `begin` on, are those of that rank."""

    size: int
    begin: int
    rank: int


_NOTHING: Final = _Alike(0, 0, 0)


class SentOutput:
    """What a relay has sent to its parent of one job."""

    def __init__(self, job: int, offer: MergeOffer) -> None:
        self.epoch = offer.epoch
        self.announcer = Announcer(job, offer.epoch) if offer.announce else None
        self._job = job
        self._recent: Recent[SentPiece] = Recent(offer.bytes)

    def frames_of(self, frame: bytes) -> Iterable[bytes | SameOutput | AnnounceOutput]:
        """What to send for a STDIO frame of this job: references, and frames or announcements for what is left."""
        _, rank, stream, offset, view = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        data = bytes(view)
        said: list[bytes | SameOutput | AnnounceOutput] = []
        at = plain = tries = 0
        while len(data) - at >= LEAST_BYTES and tries < TRIES_MAX:
            alike = self._longest(stream, offset + at, data[at:] if at else data)
            if alike.size >= LEAST_BYTES and alike.begin == 0 and plain == at:
                said.append(SameOutput(self._job, rank, stream, offset + at, alike.size, alike.rank, self.epoch))
                plain = at = at + alike.size
                continue
            tries += 1
            if alike.size >= LEAST_BYTES:
                # The bytes before it are sent first.  That may push out the piece that it equals, so look again.
                at += alike.begin
                said += self._plain(frame, rank, stream, offset, data, plain, at)
                plain = at
            elif alike.size:
                at += alike.size  # the end of a piece: the next one may go on alike
            else:
                break
        said += self._plain(frame, rank, stream, offset, data, plain, len(data))
        return said

    def _plain(
        self, frame: bytes, rank: int, stream: int, offset: int, data: bytes, begin: int, end: int
    ) -> Iterator[bytes | AnnounceOutput]:
        """Send these bytes of a frame, which no other rank has said."""
        if begin == end:
            return
        part = data[begin:end]
        self._recent.note(stream, SentPiece(rank, offset + begin, part))
        announced = None if self.announcer is None else self.announcer.announce(rank, stream, offset + begin, part)
        if announced is not None:
            yield announced
        elif len(part) == len(data):
            yield frame
        else:
            yield frames.stdio_frame(self._job, rank, stream, offset + begin, part)

    def _longest(self, stream: int, offset: int, data: bytes) -> _Alike:
        """The part that another piece has there too: from the first byte on, else at its end.

        Most pieces that differ do so in their first and in their last bytes, so these are looked at first.
        """
        best = _NOTHING
        head = data[:LEAST_BYTES]
        for piece in self._recent.covering(stream, offset):
            begin = offset - piece.offset
            both = min(len(piece.data) - begin, len(data))
            if both < LEAST_BYTES:
                if piece.data.startswith(data[:both], begin):
                    best = max(best, _Alike(both, 0, piece.rank))
            elif piece.data.startswith(head, begin):
                size = _common(piece.data, begin, data)
                best = max(best, _Alike(size, 0, piece.rank))
                if size == len(data):
                    break
            elif best.size < LEAST_BYTES and piece.data.startswith(
                data[both - LEAST_BYTES : both], begin + both - LEAST_BYTES
            ):
                size = _common_end(piece.data[begin : begin + both], data[:both])
                best = max(best, _Alike(size, both - size, piece.rank))
        return best


class KeptForLink:
    """What a parent keeps of what a child has sent of one job.

    announce: the parent has other children too, with which it compares what this one announces.
    """

    def __init__(self, most_bytes: int, *, announce: bool = False) -> None:
        self.offer = MergeOffer(next(_epochs), most_bytes, announce)
        self._recent: Recent[SentPiece] = Recent(most_bytes)
        self._lost: Recent[LostPiece] = Recent(most_bytes)

    def lose(self, rank: int, stream: int, offset: int, size: int) -> None:
        """This was announced, and the child does not have it any more.  What it sent before that may refer to it."""
        self._lost.note((rank, stream), LostPiece(offset, range(size)))

    def note(self, rank: int, stream: int, offset: int, data: bytes | memoryview) -> None:
        """This came in a STDIO frame."""
        if self.offer.bytes and len(data) >= LEAST_BYTES:
            self._recent.note((rank, stream), SentPiece(rank, offset, bytes(data)))

    def bytes_of(self, same: SameOutput) -> memoryview | None:
        """The bytes for which a reference stands; None: they were lost.  Raises: PeerError if they are not among those
        that are kept."""
        key = (same.of, same.stream)
        for piece in self._recent.covering(key, same.offset):
            begin = same.offset - piece.offset
            if begin + same.size <= len(piece.data):
                return memoryview(piece.data)[begin : begin + same.size]
        end = same.offset + same.size
        if any(end <= lost.offset + len(lost.data) for lost in self._lost.covering(key, same.offset)):
            return None
        raise PeerError("a reference to output that it has not sent, or too long ago")


def bytes_for_link(children: int, offered_bytes: int) -> int:
    """What is kept for each of so many more children that have others below them.  offered_bytes: to those before."""
    return min(LINK_BYTES, max(0, JOB_BYTES - offered_bytes) // max(1, children))


def _offset(piece: OutputPart) -> int:
    return piece.offset


def _common(known: bytes, begin: int, data: bytes) -> int:
    """How many bytes of `data`, from the first on, are those of `known` from `begin` on."""
    size = min(len(known) - begin, len(data))
    if known.startswith(data if size == len(data) else data[:size], begin):
        return size
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) // 2
        if known[begin + low : begin + middle] == data[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _common_end(known: bytes, data: bytes) -> int:
    """How many bytes before the end of both, which are as long, are the same."""
    low, high = 0, len(data)
    while low < high:
        middle = (low + high + 1) // 2
        if known.endswith(data[len(data) - middle :]):
            low = middle
        else:
            high = middle - 1
    return low
