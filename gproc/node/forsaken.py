"""Ends a slave that has not heard of the master for longer than its user wants it to wait (`gproc s --exit-after`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gproc.trust.lease import boottime_s


class Forsaken:
    """limit_s: None: the slave waits for ever.  end: called once with the reason."""

    def __init__(self, limit_s: float | None, end: Callable[[str], None]) -> None:
        self._limit_s = limit_s
        self._end = end
        self._heard_s = boottime_s()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The slave looks for the master from now on."""
        self.heard()
        self._look()

    def heard(self) -> None:
        """The master has said something to this node, and signed it."""
        self._heard_s = boottime_s()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self._limit_s is None:
            return
        left_s = self._heard_s + self._limit_s - boottime_s()
        if left_s > 0:
            self._timer = asyncio.get_running_loop().call_later(left_s, self._look)
        else:
            self._end(f"the master has not been heard for {self._limit_s:g} s: ending (--exit-after)")
