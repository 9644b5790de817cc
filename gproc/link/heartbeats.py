"""Heartbeats: they show a process that its neighbours, and the links to them, still work.

The kernel finds a dead link: it ends a connection if the peer's kernel does not acknowledge what we sent within
`TCP_USER_TIMEOUT`, tcp(7), no matter how busy either process is.  A stopped process is found by its silence.  While
jobs run, beats come often enough that a cut link is noticed within the link timeout.  An idle tree beats slowly.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import Final

from gproc.link.connection import Link
from gproc.wire.messages import Ping

IDLE_S: Final = 1.0
"""Time between two beats while no jobs run."""

SILENCE_S: Final = 4.0
"""A peer that sends nothing for this long, although its kernel acknowledges, is frozen.  Its neighbours take
another way at once, because that costs nothing; what runs on it is lost much later, when its lease ends."""

LATE_S: Final = 1.0
"""A process that was this late for a beat itself does not call others silent: it may have slept."""

BEATS: Final = 8
"""Beats per link timeout while jobs run.  The kernel notices a cut by the first beat after it."""

RECENT: Final = 4
"""Anything written within the last 1/4 of a beat's interval serves as the beat.  So at most 1 1/4 intervals pass after
the last acknowledged byte, which is 0.16 of the link timeout, and then what `connection.UNACKNOWLEDGED_PART` says."""


class Heartbeats:
    """Beats on all links of one process.  `links` and `busy` are called for each beat."""

    def __init__(self, links: Callable[[], Iterable[Link]], busy: Callable[[], bool], link_timeout_s: float) -> None:
        self._links = links
        self._busy = busy
        self._busy_s = link_timeout_s / BEATS
        self._timer: asyncio.TimerHandle | None = None
        self._fast = False
        self._due_s = math.inf
        self._judge_from_s = 0.0

    def start(self) -> None:
        self._beat()

    def quicken(self) -> None:
        """A job begins: send a beat now, and beat often from now on."""
        if not self._fast:
            self.stop()
            self._beat()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        now_s = time.monotonic()
        if now_s - self._due_s > LATE_S:
            # What came meanwhile has not been read yet.
            self._judge_from_s = now_s + SILENCE_S / 2
        self._fast = self._busy()
        for link in self._links():
            if now_s - link.written_s >= self._busy_s / RECENT:
                link.send(Ping())
            if now_s - link.heard_s > SILENCE_S and now_s >= self._judge_from_s:
                link.abort(f"sent nothing for {SILENCE_S:.0f} s")
        pause_s = self._busy_s if self._fast else IDLE_S
        self._due_s = now_s + pause_s
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._beat)
