"""Credit windows: how much each writer may send.  No I/O: sending and granting are callbacks.

A reader grants its writer a number of bytes for each stream of each job.  A writer without credit keeps its data, and
grants no more to its own writers.  So a slow reader holds back only its own job, up to the programs' pipes.  A hop
never queues more than the windows that it granted: a writer that sends more breaks the protocol.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from gproc.errors import PeerError
from gproc.wire.credit import quantum
from gproc.wire.frames import InputBlock

S = TypeVar("S")


class Outlet(Generic[S]):
    """One output stream of one job on its way up, from several sources into one link.

    window_bytes: the credit that the reader granted.  source_window_bytes: the credit that each source has.
    emit: sends a frame up.  grant: gives credit back to a source.
    """

    def __init__(
        self, window_bytes: int, source_window_bytes: int, emit: Callable[[bytes], None],
        grant: Callable[[S, int], None],
    ) -> None:  # fmt: skip
        self._credit = window_bytes
        self._source_window_bytes = source_window_bytes
        self._quantum = quantum(source_window_bytes)
        self._emit = emit
        self._grant = grant
        self._queue: deque[tuple[int, bytes, int, S]] = deque()
        self._used: dict[S, int] = {}
        """The credit that each source used and did not get back."""
        self._owed: dict[S, int] = {}
        """The part of it that can be given back, because its data has gone up."""

    def push(self, rank: int, frame: bytes, size: int, source: S) -> bool:
        """Take a frame with `size` bytes of data.  Returns whether it was passed on at once.

        Raises: PeerError if the source has no credit for it.
        """
        used = self._used.get(source, 0) + size
        if used > self._source_window_bytes:
            raise PeerError(f"output of {used} bytes with credit for {self._source_window_bytes}")
        self._used[source] = used
        if self._queue or self._credit < size:
            self._queue.append((rank, frame, size, source))
            return False
        self._pass(frame, size, source)
        return True

    def credit(self, size: int) -> list[int]:
        """The reader granted more.  Returns the ranks whose frames were passed on, once for each frame."""
        self._credit += size
        passed = []
        while self._queue and self._queue[0][2] <= self._credit:
            rank, frame, size, source = self._queue.popleft()
            self._pass(frame, size, source)
            passed.append(rank)
        return passed

    def forget(self, source: S) -> None:
        """The source is gone and needs no credit.  Its queued frames are still passed on."""
        self._used.pop(source, None)
        self._owed.pop(source, None)

    def _pass(self, frame: bytes, size: int, source: S) -> None:
        self._credit -= size
        self._emit(frame)
        if source not in self._used:
            return
        owed = self._owed.get(source, 0) + size
        if owed >= self._quantum:
            self._used[source] -= owed
            self._grant(source, owed)
            owed = 0
        self._owed[source] = owed


class Inlet(Generic[S]):
    """Standard input of one job on its way down, to several readers; the slowest sets the pace.

    The master signed each block, so a relay passes it on as it came.  No reader's window is smaller than a block: the
    master makes the blocks for the smallest window of the job's tree (`wire.credit.input_block_bytes`).

    window_bytes: the credit that each reader granted.  writer_window_bytes: the credit that the upstream writer has.
    emit: sends a block to one reader.  grant: gives credit back to the writer.
    """

    def __init__(
        self, window_bytes: int, writer_window_bytes: int, readers: list[S], emit: Callable[[S, InputBlock], None],
        grant: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._credit = dict.fromkeys(readers, window_bytes)
        self._writer_window_bytes = writer_window_bytes
        self._grant_bytes = quantum(writer_window_bytes)
        self._emit = emit
        self._grant = grant
        self._queue: deque[InputBlock] = deque()
        self._ended = False
        self._used = 0
        self._owed = 0
        self._pumping = False

    def push(self, block: InputBlock) -> None:
        """Take a block from upstream; one without data is the end of the stream.

        Raises: PeerError if the writer has no credit for it, or the stream has ended already.
        """
        if self._ended:
            raise PeerError("standard input after its end")
        if self._used + len(block.data) > self._writer_window_bytes:
            raise PeerError(f"standard input beyond its credit of {self._writer_window_bytes} bytes")
        self._ended = not block.data
        self._used += len(block.data)
        self._queue.append(block)
        self._pump()

    def credit(self, reader: S, size: int) -> None:
        if reader in self._credit:
            self._credit[reader] += size
            self._pump()

    def forget(self, reader: S) -> None:
        """The reader is gone: the others no longer wait for it."""
        if self._credit.pop(reader, None) is not None:
            self._pump()

    def _pump(self) -> None:
        if self._pumping:
            # A reader granted credit from within `emit`.  The readers after it must first get the same data.
            return
        self._pumping = True
        try:
            while self._queue and all(credit >= len(self._queue[0].data) for credit in self._credit.values()):
                self._pass(self._queue.popleft())
        finally:
            self._pumping = False

    def _pass(self, block: InputBlock) -> None:
        size = len(block.data)
        for reader in list(self._credit):
            self._credit[reader] -= size
            self._emit(reader, block)
        self._owed += size
        if self._owed >= self._grant_bytes:
            owed, self._owed = self._owed, 0
            self._used -= owed
            self._grant(owed)
