"""Orders that a user gives a job faster than its nodes can be told.  Equal orders that wait become one, as signals of
kill(2) do.

Each order is signed, and goes to every node of the job.  Without a bound one user could fill the links of a whole tree.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterable
from typing import Final

from gproc.link.allowance import Allowance
from gproc.request.acts import SendSignal, SetTerminalSize

STOPS: Final = frozenset({signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})

AT_ONCE: Final = 64
"""All signals, each once."""

ORDER_S: Final = 0.02
"""Seconds until one more order: while a user drags the edge of a terminal, it has 50 sizes a second."""

PacedAct = SendSignal | SetTerminalSize


class PacedOrders:
    """One job's.  order: gives it."""

    def __init__(self, order: Callable[[PacedAct], None], clock_s: Callable[[], float] = time.monotonic) -> None:
        self._order = order
        self._clock_s = clock_s
        self._allowance = Allowance(AT_ONCE, ORDER_S, clock_s())
        self._waiting: dict[int | None, PacedAct] = {}
        """Waiting orders by the number of the signal; None: the terminal's size.  In the order in which they came."""
        self._timer: asyncio.TimerHandle | None = None

    def take_one(self) -> bool:
        """Whether an order may be given now."""
        return self._allowance.take_one(self._clock_s())

    def add(self, act: PacedAct) -> None:
        """Give an order now, or when there is time, behind the orders that wait and in place of an equal one among
        them.

        A stop and a continue replace each other too, as in kill(2): the last one counts.
        """
        if not self._waiting and self.take_one():
            self._order(act)
            return
        number = act.signum if isinstance(act, SendSignal) else None
        for other in (number, *_undone_by(number)):
            self._waiting.pop(other, None)
        self._waiting[number] = act
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(ORDER_S, self._go_on)

    def stop(self) -> None:
        """The job is over."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        self._timer = None
        while self._waiting and self.take_one():
            self._order(self._waiting.pop(next(iter(self._waiting))))
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(ORDER_S, self._go_on)


def _undone_by(signum: int | None) -> Iterable[int]:
    """The signals whose effect this one takes back."""
    if signum == signal.SIGCONT:
        return STOPS
    return (signal.SIGCONT,) if signum in STOPS else ()
