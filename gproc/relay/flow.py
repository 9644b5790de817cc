"""Credit windows: how much each writer may send.  Pure: sending and granting are callbacks.

A reader grants its writer a number of bytes for each stream of each job.  A writer without credit keeps its data, and
grants no more to its own writers.  So a slow reader holds back only its own job, up to the programs' pipes.  A hop
never queues more than the windows that it granted: a writer that sends more breaks the protocol.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from gproc.errors import PeerError
from gproc.wire.credit import quantum
from gproc.wire.frames import InputBlock

S = TypeVar("S")


class _Queued(NamedTuple, Generic[S]):
    """A frame that waits.  size: bytes of its data."""

    rank: int
    frame: bytes
    size: int
    source: S


class Outlet(Generic[S]):
    """One output stream of one job on its way up, from several sources into one link.

    window_bytes: the credit that the reader granted.  source_window_bytes: the credit that each source has.
    emit: sends a frame up.  grant: gives credit back to a source.
    """

    def __init__(
        self, window_bytes: int, source_window_bytes: int, emit: Callable[[bytes], None],
        grant: Callable[[S, int], None],
    ) -> None:  # fmt: skip
        self._credit = self._window_bytes = window_bytes
        self.frame_bytes = quantum(window_bytes)
        """The most data in one frame, so that it fits the reader's window."""
        self._source_window_bytes = source_window_bytes
        self._quantum = quantum(source_window_bytes)
        self._emit = emit
        self._grant = grant
        self._queue: deque[_Queued[S]] = deque()
        self._used: dict[S, int] = {}
        """The credit that each source used and did not get back."""
        self._owed: dict[S, int] = {}
        """The part of it that can be given back, because its data has gone up."""
        self._crediting = False

    @property
    def has_room(self) -> bool:
        """Whether its reader takes what comes: nothing waits, and half of the window is free."""
        return not self._queue and 2 * self._credit >= self._window_bytes

    def accept(self, size: int, source: S) -> None:
        """Count `size` bytes that came, to be pushed or dropped.  Raises: PeerError if their source has no credit."""
        used = self._used.get(source, 0) + size
        if used > self._source_window_bytes:
            raise PeerError(f"output of {used} bytes with credit for {self._source_window_bytes}")
        self._used[source] = used

    def push(self, rank: int, frame: bytes, size: int, source: S) -> bool:
        """Pass on a frame with `size` bytes of data, without its header.  Returns whether that was possible at once."""
        if self._queue or self._credit < size:
            self._queue.append(_Queued(rank, frame, size, source))
            return False
        self._pass(frame, size, source)
        return True

    def granted(self, size: int) -> list[int]:
        """A reader on another machine granted more.  Raises: PeerError if that is more than its window.

        Returns: as `credit`.
        """
        if self._credit + size > self._window_bytes:
            raise PeerError(f"credit for {size} bytes of output, more than it was sent")
        return self.credit(size)

    def stop(self) -> None:
        """The reader is gone: what comes waits for `resume`."""
        self._credit = 0

    def resume(self, window_bytes: int) -> list[tuple[S, int]]:
        """There is another reader.  What waits is dropped: its sources send it again.

        Returns the credit to give back to each source, when the sources know from which offset they send.
        """
        self._credit = self._window_bytes = window_bytes
        self.frame_bytes = quantum(window_bytes)
        queue, self._queue = self._queue, deque()
        return [(waiting.source, waiting.size) for waiting in queue]

    def credit(self, size: int) -> list[int]:
        """The reader granted more.  Returns the ranks whose frames were passed on, once for each frame."""
        self._credit += size
        passed: list[int] = []
        if self._crediting:  # `emit` has dropped a frame, and grants its size again: a call for each would be too deep
            return passed
        self._crediting = True
        while self._queue and self._queue[0].size <= self._credit:
            rank, frame, size, source = self._queue.popleft()
            self._pass(frame, size, source)
            passed.append(rank)
        self._crediting = False
        return passed

    def forget(self, source: S) -> None:
        """The source is gone and needs no credit.  Its queued frames are still passed on."""
        self._used.pop(source, None)
        self._owed.pop(source, None)

    def _pass(self, frame: bytes, size: int, source: S) -> None:
        self._credit -= size
        self._emit(frame)
        self.pay(source, size)

    def pay(self, source: S, size: int) -> None:
        """This data of a source has been passed on or dropped: give its credit back, in larger parts."""
        if source not in self._used:
            return
        owed = self._owed.get(source, 0) + size
        if owed < self._quantum:
            self._owed[source] = owed
            return
        self._owed[source] = 0  # before the grant: this node's own program sends at once, and that is paid for too
        self._used[source] -= owed
        self._grant(source, owed)


class Inlet(Generic[S]):
    """Standard input of one job on its way down, to several readers; the slowest sets the pace.

    The master signed each block, so a relay passes it on as it came.  No reader's window is smaller than a block: the
    master makes the blocks for the smallest window of the job's tree (`wire.credit.input_block_bytes`).

    After a change of the tree, a node below may lack blocks that a dead relay had.  The master keeps the last
    `kept_bytes`, which is as much as all relays on the longest way may hold, and sends them again (`repeat`).  A node
    that has a block drops it.  It keeps `spare_bytes` more, so that the others may get as much while one is away.

    window_bytes: the credit that each reader granted.  writer_window_bytes: the credit that the upstream writer has.
    emit: sends a block to one reader.  grant: gives credit back to the writer.
    """

    def __init__(
        self, window_bytes: int, writer_window_bytes: int, readers: list[S], emit: Callable[[S, InputBlock], None],
        grant: Callable[[int], None], kept_bytes: int = 0, spare_bytes: int = 0,
    ) -> None:  # fmt: skip
        self._window_bytes = window_bytes
        self._credit = dict.fromkeys(readers, window_bytes)
        self._writer_window_bytes = writer_window_bytes
        self._grant_bytes = quantum(writer_window_bytes)
        self._emit = emit
        self._grant = grant
        self._queue: deque[InputBlock] = deque()
        self._kept: deque[InputBlock] = deque()
        self._kept_bytes = 0
        self._keep_bytes = kept_bytes + spare_bytes
        self._spare_bytes = spare_bytes
        self._passed_held_bytes = 0
        """What was passed on although a node below cannot be reached."""
        self._repeated: dict[S, deque[InputBlock]] = {}
        """For each reader, the blocks that it gets once more, before any others."""
        self._used = 0
        self._owed = 0
        self._not_owed = 0
        """Bytes in the queue that the writer before the present one sent."""
        self._pumping = False
        self._held = False

    def hold(self, held: bool) -> None:
        """held: a node below cannot be reached now, so no reader gets more than `spare_bytes`: what is kept must
        include what that node lacks."""
        if not held:
            self._passed_held_bytes = 0
        self._held = held
        self._pump()

    def push(self, block: InputBlock) -> None:
        """Take a block from upstream; one without data is the end of the stream.

        It may repeat blocks, and the end, which another node below lacks.  Raises: PeerError if the writer has no
        credit for it.
        """
        if not block.data and self._queue and not self._queue[-1].data:
            return  # the end waits already, and takes no credit
        if self._used + len(block.data) > self._writer_window_bytes:
            raise PeerError(f"standard input beyond its credit of {self._writer_window_bytes} bytes")
        self._used += len(block.data)
        self._queue.append(block)
        self._pump()

    def blocks(self) -> list[InputBlock]:
        """The blocks that are kept, and those that wait."""
        return [*self._kept, *self._queue]

    def restore(self, blocks: Iterable[InputBlock]) -> None:
        """At a master that comes back: these may have been sent to some of those below."""
        for block in blocks:
            self._kept.append(block)
            self._kept_bytes += len(block.data)

    def credit(self, reader: S, size: int) -> None:
        """A reader has room for more.  Raises: PeerError if that is more than its window: it would wait in memory."""
        if reader in self._credit:
            if self._credit[reader] + size > self._window_bytes:
                raise PeerError(f"credit for {size} bytes of standard input, more than it was sent")
            self._credit[reader] += size
            self._pump()

    def add(self, reader: S) -> None:
        """Another reader takes part from now on."""
        self._credit.setdefault(reader, self._window_bytes)

    def repeat(self, reader: S) -> None:
        """Send this reader once more what is kept."""
        if self._kept:
            self._repeated[reader] = deque(self._kept)
            self._pump()

    def resume(self, window_bytes: int) -> None:
        """There is another writer, with a window of its own."""
        self._writer_window_bytes = window_bytes
        self._grant_bytes = quantum(window_bytes)
        self._used = self._owed = 0
        self._not_owed = sum(len(block.data) for block in self._queue)

    def replace_blocks(self, sign: Callable[[InputBlock], InputBlock]) -> None:
        """Sign the blocks that are kept or wait once more."""
        self._queue = deque(map(sign, self._queue))
        self._kept = deque(map(sign, self._kept))
        self._repeated = {reader: deque(map(sign, blocks)) for reader, blocks in self._repeated.items()}

    def forget(self, reader: S) -> None:
        """The reader is gone: the others no longer wait for it."""
        self._repeated.pop(reader, None)
        if self._credit.pop(reader, None) is not None:
            self._pump()

    def _pump(self) -> None:
        if self._pumping:
            # A reader granted credit from within `emit`.  The readers after it must first get the same data.
            return
        self._pumping = True
        try:
            for reader in list(self._repeated):
                self._pump_repeated(reader)
            while self._queue and not self._repeated and self._may_pass(len(self._queue[0].data)):
                if any(credit < len(self._queue[0].data) for credit in self._credit.values()):
                    return
                self._pass(self._queue.popleft())
        finally:
            self._pumping = False

    def _may_pass(self, size: int) -> bool:
        return not self._held or 0 < self._passed_held_bytes + size <= self._spare_bytes

    def _pump_repeated(self, reader: S) -> None:
        blocks = self._repeated[reader]
        while blocks and self._credit[reader] >= len(blocks[0].data):
            block = blocks.popleft()
            self._credit[reader] -= len(block.data)
            self._emit(reader, block)
        if not blocks:
            del self._repeated[reader]

    def _pass(self, block: InputBlock) -> None:
        size = len(block.data)
        self._passed_held_bytes += size if self._held else 0
        for reader in list(self._credit):
            self._credit[reader] -= size
            self._emit(reader, block)
        if self._keep_bytes:
            self._keep(block)
        stale = min(size, self._not_owed)
        self._not_owed -= stale
        self._owed += size - stale
        if self._owed >= self._grant_bytes:
            owed, self._owed = self._owed, 0
            self._used -= owed
            self._grant(owed)

    def _keep(self, block: InputBlock) -> None:
        self._kept.append(block)
        self._kept_bytes += len(block.data)
        while self._kept_bytes - len(self._kept[0].data) >= self._keep_bytes:
            self._kept_bytes -= len(self._kept.popleft().data)
