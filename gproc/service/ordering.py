"""Orders that a user gives a job faster than its nodes can be told: equal ones that wait are one, as of kill(2).

Each order is signed, and goes to every node of the job.  Without a bound one user could fill the links of a whole tree.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gproc.link.allowance import Allowance
from gproc.request.acts import SendSignal, SetTerminalSize

AT_ONCE: Final = 64
"""All signals, each once."""

ORDER_S: Final = 0.02
"""Seconds until one more: a terminal whose size somebody drags has 50 sizes a second."""

PacedAct = SendSignal | SetTerminalSize


class PacedOrders:
    """One job's.  order: gives it."""

    def __init__(self, order: Callable[[PacedAct], None]) -> None:
        self._order = order
        self._allowance: Allowance | None = None
        self._waiting: dict[int, PacedAct] = {}
        """By the number of the signal; 0: the terminal's size."""
        self._timer: asyncio.TimerHandle | None = None

    def take_one(self) -> bool:
        """Whether an order may be given now."""
        now_s = asyncio.get_running_loop().time()
        if self._allowance is None:
            self._allowance = Allowance(AT_ONCE, ORDER_S, now_s)
        return self._allowance.take_one(now_s)

    def add(self, act: PacedAct) -> None:
        """Now, or when there is time, in the place of an equal one that waits."""
        if not self._waiting and self.take_one():
            self._order(act)
            return
        self._waiting[act.signum if isinstance(act, SendSignal) else 0] = act
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ORDER_S, self._go_on)

    def stop(self) -> None:
        """The job is over."""
        self._waiting.clear()

    def _go_on(self) -> None:
        self._timer = None
        while self._waiting and self.take_one():
            self._order(self._waiting.pop(next(iter(self._waiting))))
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(ORDER_S, self._go_on)
