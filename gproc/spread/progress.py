"""What one node still lacks of a payload over time, and the rate at which chunks reach it.  Pure: time is an argument.

All times are seconds of one clock that never goes back.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final, NamedTuple

WINDOWS_S: Final = (0.6, 1.2, 2.4, 4.8)
"""A rate is taken over the shortest of these windows in which an edge usually moves `EVIDENCE_BYTES`.  Linux waits at
least 0.2 s before it repeats a lost TCP segment, and twice that the second time.  One such pause leaves a third of any
window, and so do most pauses of a busy processor.  Windows of 0.4 s found a slow child sooner, but blamed healthy
children as well (bench/links.py)."""

EVIDENCE_BYTES: Final = 512 << 10
"""The least that an edge usually moves within a window.  Reports count whole pieces of 128 KiB: a third of this is more
than one piece."""

KEPT_S: Final = 2 * WINDOWS_S[-1]
"""How long reports are kept: the longest window, twice, because the other end may have been silent for one."""

SILENT_S: Final = 0.6
"""A node that missed three reports is taken to have received nothing since its last one."""


class StripeHistory:
    """The reports of one node: the bytes of each stripe that it lacked at a time."""

    def __init__(self) -> None:
        self._reports: deque[tuple[float, tuple[int, ...]]] = deque()

    def add(self, now_s: float, missing: tuple[int, ...]) -> None:
        self._reports.append((now_s, missing))
        while len(self._reports) > 1 and self._reports[1][0] < now_s - KEPT_S:
            self._reports.popleft()

    def known_until_s(self, now_s: float) -> float:
        """The last report's time, or now if the node is silent although it lacks something."""
        last_s, missing = self._reports[-1]
        return now_s if any(missing) and now_s - last_s > SILENT_S else last_s

    def missing_at(self, time_s: float) -> tuple[float, ...] | None:
        """What the node lacked at that time, interpolated between reports; None before its first report."""
        after_s, after = inf, self._reports[-1][1]
        for before_s, before in reversed(self._reports):
            if before_s <= time_s:
                part = (time_s - before_s) / (after_s - before_s)
                return tuple(old + part * (new - old) for old, new in zip(before, after, strict=True))
            after_s, after = before_s, before
        return None

    def received(self, now_s: float, window_s: float, since_s: float) -> Received | None:
        """What the node received within its last window; None if that window begins before `since_s` or is unknown."""
        end_s = self.known_until_s(now_s)
        begin_s = end_s - window_s
        before, after = self.missing_at(begin_s), self.missing_at(end_s)
        if before is None or after is None or begin_s < since_s:
            return None
        # A node lacks more than before if it got a new source in the middle of a chunk.
        rates = tuple(max(0.0, old - new) / window_s for old, new in zip(before, after, strict=True))
        return Received(begin_s, end_s, before, after, rates)


class Received(NamedTuple):
    """What one node received within a window.

    missing_before, missing_after: bytes of each stripe that it lacked at the two ends.  rates: bytes per second.
    """

    begin_s: float
    end_s: float
    missing_before: tuple[float, ...]
    missing_after: tuple[float, ...]
    rates: tuple[float, ...]

    def rate(self) -> float:
        return sum(self.rates)
