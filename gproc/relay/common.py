"""What the children of one parent have alike comes from one of them.  Pure.

The parent keeps the last long output of a job, whichever child sent it.  A child announces its own by digests
(`relay.announcing`); the parent takes from what it keeps, and asks for the rest.  If another child has been asked for
the same, the parent waits for that child.  After ANSWER_S, or if that child goes away, it asks this one.  So output
counts as said only if it is here whole.

An announcement has its place among what comes over a link: what comes after it waits until its bytes are here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from gproc.errors import PeerError
from gproc.relay.announcing import part_digest
from gproc.relay.merging import Recent, SentPiece
from gproc.wire.endings import OutputGone, RankEnded
from gproc.wire.merging import (
    ANNOUNCED_BYTES_MIN,
    PART_DIGEST_BYTES,
    AnnounceOutput,
    AnswerOutput,
    BringOutput,
    SameOutput,
    parts_of,
)

S = TypeVar("S")

POOL_BYTES: Final = 4 << 20
"""Bytes that are kept of one job: its nodes may be so far apart in what they say."""

PAUSED_POOL_BYTES: Final = 512 << 10
"""Bytes that are kept while nodes say different things: enough to notice that nodes in step say the same again."""

ANSWER_S: Final = 0.5
"""Seconds for which a child waits for what another one was asked for: at least so long, at most twice, because the
other may be slow."""

PROBED_BYTES: Final = 2 << 20
"""If this many bytes were announced, and none of them was known, the nodes of this job say different things."""

PAUSE_BYTES: Final = 16 << 20
"""Then each child sends this many bytes before it announces again, because an announcement costs a digest at both
ends."""

QUEUED_MAX: Final = 1 << 16
"""Messages of one child behind an announcement.  Of its windows, 1 MiB for each stream, references of 64 bytes each
would be fewer."""

QUEUED_ENDS_BYTES_MAX: Final = 32 << 20
"""Ends of ranks among them: each rank has one, of some 250 bytes.  Windows do not count these."""

DIGESTS_MAX: Final = 64
"""Digests that are kept of one piece: a STDIO frame has 32 parts.  Digests of other parts are calculated when they are
asked for."""

LOST_MAX: Final = 1024
"""A child that forgets a job loses what it has announced of it by then, once until the next Run: three windows of 1 MiB
hold 768 announcements of 4 KiB.  A child that has lost more has announced what it does not have: PeerError."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls a function in so many seconds."""


class SaidOutput(NamedTuple):
    """Output of a rank that has come whole."""

    rank: int
    stream: int
    offset: int
    data: bytes


class LostOutput(NamedTuple):
    """Bytes that a child has announced, and does not have any more: its nodes send them again after the next Run."""

    rank: int
    stream: int
    offset: int
    size: int


Item = SaidOutput | LostOutput | SameOutput | OutputGone | RankEnded
PartKey = tuple[int, int, bytes]
"""A part of some output: its stream, its offset and its digest."""


class _Pooled(SentPiece):
    """digests: of its parts that were asked about, by offset in it and size."""

    digests: dict[tuple[int, int], bytes]

    def digest(self, begin: int, size: int) -> bytes:
        if (known := self.digests.get((begin, size))) is None:
            known = part_digest(memoryview(self.data)[begin : begin + size])
            if len(self.digests) < DIGESTS_MAX:
                self.digests[begin, size] = known
        return known


class _Part(NamedTuple):
    key: PartKey
    offset: int
    size: int


class _Announced(Generic[S]):
    """What a child has announced.  `blocks`: the bytes of each part; None: not here."""

    def __init__(self, source: S, said: AnnounceOutput) -> None:
        self.source = source
        self.said = said
        self.parts: list[_Part] = []
        for number, (offset, size) in enumerate(parts_of(said.offset, said.size)):
            digest = said.digests[number * PART_DIGEST_BYTES :][:PART_DIGEST_BYTES]
            self.parts.append(_Part((said.stream, offset, digest), offset, size))
        self.blocks: list[bytes | None] = [None] * len(self.parts)
        self.answer: AnswerOutput | None = None
        self.is_gone = False
        self.looks = 0
        """How often the time was up while it waited for another child."""

    @property
    def is_here(self) -> bool:
        return None not in self.blocks

    def missing(self) -> list[int]:
        return [number for number, block in enumerate(self.blocks) if block is None]

    def item(self) -> SaidOutput | LostOutput:
        said = self.said
        if not self.is_here:
            return LostOutput(said.rank, said.stream, said.offset, said.size)
        return SaidOutput(said.rank, said.stream, said.offset, b"".join([block for block in self.blocks if block]))


class CommonOutput(Generic[S]):
    """The long output of one job at a node with several children, which are the sources.

    answer: sends a child this.  take: gets what a child has said, in its order, with all bytes.
    """

    def __init__(
        self, job: int, answer: Callable[[S, AnswerOutput], None], take: Callable[[S, Item], None], later: Later | None
    ) -> None:
        self._job = job
        self._answer = answer
        self._take = take
        self._later = later
        self._pool: Recent[_Pooled] = Recent(POOL_BYTES)
        self._queues: dict[S, deque[_Announced[S] | Item]] = {}
        self._open: dict[S, dict[int, _Announced[S]]] = {}
        self._coming: dict[PartKey, _Announced[S]] = {}
        """Which announcement a part was asked for of."""
        self._waiting: dict[PartKey, list[_Announced[S]]] = {}
        """The announcements that wait for a part that another child was asked for, each under the first part that it
        lacks."""
        self._is_timed = False
        self._unknown_bytes = 0
        """What was announced since the last part that was known."""
        self._faults: dict[S, str] = {}
        self._ends_bytes: dict[S, int] = {}
        """The size of the ends that have come behind an announcement since nothing waited."""
        self._lost: dict[S, int] = {}
        """How many announcements each child has lost since it was sent the last Run."""

    def note(self, stream: int, offset: int, data: bytes | memoryview) -> None:
        """A child has said this."""
        if len(data) < ANNOUNCED_BYTES_MIN:
            return
        data = bytes(data)
        for piece in self._pool.covering(stream, offset):
            if piece.data.startswith(data, offset - piece.offset):
                return
        pooled = _Pooled(0, offset, data)
        pooled.digests = {}
        self._pool.note(stream, pooled)

    def holds_back(self, source: S) -> bool:
        """Whether what comes from this child has to wait.  Raises: PeerError if it broke the protocol, which may show
        late."""
        if source in self._faults:
            raise PeerError(self._faults[source])
        return source in self._queues

    def wait(self, source: S, item: _Announced[S] | Item) -> None:
        """Raises: PeerError if too much waits."""
        queue = self._queues.setdefault(source, deque())
        if len(queue) >= QUEUED_MAX:
            raise PeerError(f"more than {QUEUED_MAX} messages behind output that it announced and did not bring")
        if isinstance(item, RankEnded) and item.signed is not None:
            self._ends_bytes[source] = waiting = self._ends_bytes.get(source, 0) + len(item.signed.payload)
            if waiting > QUEUED_ENDS_BYTES_MAX:
                raise PeerError(f"more than {QUEUED_ENDS_BYTES_MAX} bytes of ends behind output that it did not bring")
        queue.append(item)

    def announced(self, source: S, said: AnnounceOutput) -> None:
        """Raises: PeerError if too much waits, or it is too short to be announced."""
        self.holds_back(source)
        if said.size < ANNOUNCED_BYTES_MIN:
            raise PeerError(f"it announced output of {said.size} bytes")
        if said.serial in self._open.get(source, {}):
            raise PeerError(f"it announced two outputs by the number {said.serial}")
        announced = _Announced(source, said)
        self.wait(source, announced)
        self._open.setdefault(source, {})[said.serial] = announced
        known = self._fill(announced)
        rivals = any(part.key in self._coming for part in announced.parts)
        self._unknown_bytes = 0 if known or rivals else self._unknown_bytes + said.size
        self._pool.keep_at_most(PAUSED_POOL_BYTES if self._pause_bytes else POOL_BYTES)
        self._look(announced)
        self._drain(source)

    def brought(self, source: S, said: BringOutput) -> None:
        """Raises: PeerError if it was not asked for, or is missing too often."""
        announced = self._open.get(source, {}).get(said.serial)
        if announced is None or announced.is_here:
            return
        asked = announced.answer
        if asked is None or len(said.data) not in (0, asked.size):
            raise PeerError(f"{len(said.data)} bytes of output that were not asked for")
        if said.data:
            begin = announced.said.offset + asked.begin
            for number in announced.missing():
                _, offset, size = announced.parts[number]
                announced.blocks[number] = said.data[offset - begin : offset - begin + size]
            self.note(announced.said.stream, begin, said.data)
        else:
            self._lost[source] = lost = self._lost.get(source, 0) + 1
            if lost > LOST_MAX:
                raise PeerError(f"it does not have {lost} outputs that it has announced")
            announced.is_gone = True
        self._close(announced)

    def ask_again(self, source: S) -> None:
        """It may have forgotten the job meanwhile: then it says that it does not have the bytes any more."""
        self._lost.pop(source, None)
        for announced in list(self._open.get(source, {}).values()):
            if announced.answer is not None:
                self._answer(source, announced.answer)

    def left(self, source: S) -> None:
        """The child is gone, and what it has announced and not brought is gone with it."""
        self._queues.pop(source, deque()).clear()
        self._ends_bytes.pop(source, None)
        self._faults.pop(source, None)
        self._lost.pop(source, None)
        for announced in list(self._open.get(source, {}).values()):
            announced.is_gone = True
            self._close(announced)

    def _fill(self, announced: _Announced[S]) -> bool:
        """Take what is here.  Returns whether anything was."""
        missing = announced.missing()
        for number in missing:
            announced.blocks[number] = self._find(announced.parts[number])
        return len(announced.missing()) < len(missing)

    def _look(self, announced: _Announced[S]) -> None:
        """Ask for what is not here, or wait for it, if it is to come from others."""
        if announced.is_here:
            self._answer(announced.source, AnswerOutput(self._job, announced.said.serial, 0, 0, self._pause_bytes))
            self._close(announced)
            return
        missing = [announced.parts[number] for number in announced.missing()]
        if announced.looks < 2 and all(part.key in self._coming for part in missing):
            self._waiting.setdefault(missing[0].key, []).append(announced)
            self._watch()
            return
        for part in missing:
            self._coming.setdefault(part.key, announced)
        # From the first to the last that is missing: what stands between them and is here comes once more.
        begin, end = missing[0].offset, missing[-1].offset + missing[-1].size
        for number, part in enumerate(announced.parts):
            if begin <= part.offset < end:
                announced.blocks[number] = None
        begin -= announced.said.offset
        size = end - announced.said.offset - begin
        announced.answer = AnswerOutput(self._job, announced.said.serial, begin, size, self._pause_bytes)
        self._answer(announced.source, announced.answer)

    @property
    def _pause_bytes(self) -> int:
        return PAUSE_BYTES if self._unknown_bytes >= PROBED_BYTES else 0

    def _close(self, announced: _Announced[S]) -> None:
        """The bytes of an announcement are here, or will not come: what waits for them, and what stands behind it, goes
        on."""
        source = announced.source
        mine = self._open.get(source, {})
        mine.pop(announced.said.serial, None)
        if not mine:
            self._open.pop(source, None)
        waiting: list[_Announced[S]] = []
        for part in announced.parts:
            if self._coming.get(part.key) is announced:
                del self._coming[part.key]
                waiting += self._waiting.pop(part.key, [])
        for other in waiting:
            if not other.is_gone:
                self._fill(other)
                self._look(other)
        self._drain(source)

    def _drain(self, source: S) -> None:
        """Hand over what a child has said, up to the first announcement whose bytes are not here."""
        queue = self._queues.get(source)
        while queue:
            item = queue[0]
            if isinstance(item, _Announced) and not item.is_here and not item.is_gone:
                return
            queue.popleft()
            try:
                self._take(source, item.item() if isinstance(item, _Announced) else item)
            except PeerError as error:
                # It may be the message of another child that brought us here: this one is told at its own next message.
                self._faults[source] = str(error)
                queue.clear()
        if queue is not None and self._queues.get(source) is queue:
            del self._queues[source]
            self._ends_bytes.pop(source, None)

    def _find(self, part: _Part) -> bytes | None:
        stream, offset, digest = part.key
        for piece in self._pool.covering(stream, offset):
            begin = offset - piece.offset
            if begin + part.size <= len(piece.data) and piece.digest(begin, part.size) == digest:
                return piece.data[begin : begin + part.size]
        return None

    def _watch(self) -> None:
        if self._later is not None and not self._is_timed:
            self._is_timed = True
            self._later(ANSWER_S, self._tick)

    def _tick(self) -> None:
        self._is_timed = False
        late: list[_Announced[S]] = []
        for key, waiting in list(self._waiting.items()):
            for announced in waiting:
                announced.looks += 1
            late += [announced for announced in waiting if announced.looks >= 2 and not announced.is_gone]
            waiting[:] = [announced for announced in waiting if announced.looks < 2]
            if not waiting:
                del self._waiting[key]
        for announced in late:
            self._look(announced)
        if self._waiting:
            self._watch()
