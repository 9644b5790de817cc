"""A program that is stopped and continued, as a shell does it with Ctrl-Z, fg and bg.

SIGTSTP alone does not stop it.  A program of a job leads a session of its own, in which no shell does job control: its
process group is orphaned, and there the kernel discards SIGTSTP unless the program catches it (setpgid(2), signal(7)).
So SIGSTOP follows, which nothing can catch, after a time for those that have something to do before they stop.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

STOP_AFTER_S: Final = 0.25
"""Seconds from SIGTSTP to SIGSTOP: time for a program to save its screen, or to stop its own children."""

ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})


class Suspension:
    """Whether one job is stopped on this node."""

    def __init__(self, send: Callable[[int], None]) -> None:
        """send: sends a signal to every process of the program."""
        self._send = send
        self._is_asked = False
        self._timer: asyncio.TimerHandle | None = None

    def note(self, signum: int) -> None:
        """The caller sends this signal before the program runs."""
        if signum in (signal.SIGTSTP, signal.SIGCONT):
            self._is_asked = signum == signal.SIGTSTP

    def begin(self) -> None:
        """The program runs now; it stops if its caller has asked for that before."""
        if self._is_asked:
            self.pass_on(signal.SIGTSTP)

    def pass_on(self, signum: int) -> None:
        """Send the program a signal, and what must follow it."""
        self._send(signum)
        if signum == signal.SIGTSTP:
            self._is_asked = True
            self.end()
            self._timer = asyncio.get_running_loop().call_later(STOP_AFTER_S, self._send, signal.SIGSTOP)
        elif signum == signal.SIGCONT:
            self._is_asked = False
            self.end()
        elif signum in ENDING:
            # A stopped program would not see it, even if it has stopped itself: as timeout(1) does, let it end in
            # order.
            self.pass_on(signal.SIGCONT)

    def end(self) -> None:
        """Nothing follows any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
