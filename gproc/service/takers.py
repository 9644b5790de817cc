"""Several takers of one job's output: its programs may write as fast as the slowest of them takes it.  Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator


class SharedCredit:
    """Counts bytes by stream.  A taker that joins has taken all that was sent before."""

    def __init__(self) -> None:
        self._sent: defaultdict[int, int] = defaultdict(int)
        self._passed: defaultdict[int, int] = defaultdict(int)
        self._taken: dict[Hashable, defaultdict[int, int]] = {}

    def join(self, taker: Hashable) -> None:
        self._taken[taker] = defaultdict(int, self._sent)

    def sent(self, stream: int, size: int) -> None:
        """So many bytes were handed to all takers."""
        self._sent[stream] += size

    def take(self, taker: Hashable, stream: int, size: int) -> int:
        """A taker has taken so many bytes.  Returns how many more may be written."""
        if taker not in self._taken:
            return 0
        self._taken[taker][stream] += size
        return self._pass(stream)

    def leave(self, taker: Hashable) -> Iterator[tuple[int, int]]:
        """A taker is gone.  What it held back may be written: by stream, if others stay."""
        self._taken.pop(taker, None)
        if self._taken:
            for stream in self._sent:
                if size := self._pass(stream):
                    yield stream, size

    def _pass(self, stream: int) -> int:
        least = min(taken[stream] for taken in self._taken.values())
        size = max(0, least - self._passed[stream])
        self._passed[stream] += size
        return size
