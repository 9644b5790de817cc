"""How long the connections of one user, or one of a node, may keep the event loop to themselves: others are served in
between.

64 KiB of small requests, read at once, can be seconds of work.  A user may have hundreds of connections that all bring
as many.  So a user has one shift in each turn of the event loop, for all connections together.  What is left over waits
in its buffer, and its connection is not read meanwhile.  A connection that has waited gets one request served in
any case.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

SHIFT_S: Final = 0.005
"""Seconds: one twentieth of what a person notices.  If two users do this, each gets half of the processor."""


class Shift:
    """One user's."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._spent_s = 0.0
        self._is_due = False

    def now_s(self) -> float:
        return self._clock_s()

    def is_over(self, since_s: float) -> bool:
        """Whether the time of this turn is used up: by work that began then, and by what was done before."""
        return self._spent_s + self._clock_s() - since_s >= SHIFT_S

    def spend(self, since_s: float) -> None:
        """Work that began then is done for now."""
        self._spent_s += self._clock_s() - since_s
        self._await_turn()

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call this in a later turn, after others that wait already."""
        self._waiting.append(go_on)
        self._await_turn()

    def _await_turn(self) -> None:
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._is_due = False
        self._spent_s = 0.0
        try:
            for _ in range(len(self._waiting)):
                if self._spent_s >= SHIFT_S:
                    break
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._await_turn()
