"""Ends a slave whose master has been silent for longer than its user wants it to wait (`gproc s --exit-after`).

A master has nothing to say to an idle node until it is asked.  So it is silent only while the node has no parent, or
waits for an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gproc.trust.lease import boottime_s


class Forsaken:
    """limit_s: None: the slave waits for ever.  end: called once with the reason."""

    def __init__(self, limit_s: float | None, end: Callable[[str], None]) -> None:
        self._limit_s = limit_s
        self._end = end
        self._until_s: float | None = None
        """None: the master is not silent."""
        self._timer: asyncio.TimerHandle | None = None

    def waits(self) -> None:
        """The slave has no parent, or has asked the master something."""
        if self._until_s is None and self._limit_s is not None:
            self._until_s = boottime_s() + self._limit_s
            self._look()

    def heard(self) -> None:
        """The master has said something to this node, and signed it."""
        self._until_s = None
        self.stop()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._until_s is not None
        left_s = self._until_s - boottime_s()
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._look)
        else:
            self._end(f"the master has not been heard for {self._limit_s:g} s: ending (--exit-after)")
