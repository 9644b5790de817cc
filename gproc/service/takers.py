"""Several takers of one job's output: its programs may write as fast as the slowest of them takes it.  Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterator

from gproc.errors import PeerError


class SharedCredit:
    """Counts bytes by stream.  A taker that joins counts as having taken all that was sent before.  It may not get some
    streams."""

    def __init__(self) -> None:
        self._sent: defaultdict[int, int] = defaultdict(int)
        self._passed: defaultdict[int, int] = defaultdict(int)
        self._taken: dict[Hashable, defaultdict[int, int]] = {}
        self._without: dict[Hashable, Collection[int]] = {}

    def join(self, taker: Hashable, without: Collection[int] = ()) -> None:
        """without: the streams that it does not get."""
        self._taken[taker] = defaultdict(int, self._sent)
        self._without[taker] = without

    def sent(self, stream: int, size: int) -> None:
        """Count `size` bytes that were handed to all takers."""
        self._sent[stream] += size

    def take(self, taker: Hashable, stream: int, size: int) -> int:
        """A taker has taken this many bytes.  Returns how many more may be written.

        Raises: PeerError if it was not sent so many: otherwise unread output would wait in our memory without a bound.
        """
        if taker not in self._taken:
            return 0
        if self._taken[taker][stream] + size > self._sent[stream]:
            raise PeerError(f"credit for {size} bytes of stream {stream}, more than it was sent")
        self._taken[taker][stream] += size
        return self._pass(stream)

    def leave(self, taker: Hashable) -> Iterator[tuple[int, int]]:
        """A taker is gone.  Returns how much may be written that it held back, by stream, if others stay."""
        self._taken.pop(taker, None)
        self._without.pop(taker, None)
        if self._taken:
            for stream in self._sent:
                if size := self._pass(stream):
                    yield stream, size

    def _pass(self, stream: int) -> int:
        taken = [taken[stream] for taker, taken in self._taken.items() if stream not in self._without[taker]]
        size = max(0, min(taken) - self._passed[stream]) if taken else 0
        self._passed[stream] += size
        return size
