"""Bounds the questions for leases that a node passes on towards the master.  Pure.

The master signs each answer, and everything that a rack master says goes up on one connection.  A node that asks
without end would fill that connection, and then its rack master would lose its own lease, with all that runs there.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from gproc.wire.messages import Route

QUESTIONS: Final = 8
"""Questions of one node that are passed on in one period.  With the shortest lease a node asks 2 a second, and once
more when it has joined.  It asks again for what is dropped."""

PERIOD_S: Final = 1.0


class LeaseQuestions:
    """Counts by the nodes' routes, of one period alone; a caller passes on only those of nodes in its tree."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._asked: Counter[Route] = Counter()

    def may_pass(self, route: Route, now_s: float) -> bool:
        """Whether one more question of this node goes on its way now."""
        if not 0 <= now_s - self._since_s < PERIOD_S:
            self._since_s = now_s
            self._asked.clear()
        self._asked[route] += 1
        return self._asked[route] <= QUESTIONS
