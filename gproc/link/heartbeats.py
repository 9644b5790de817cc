"""Heartbeats: how a process knows that its neighbours, and the links to them, still work.

A link that is dead is found by the kernel: what we send and nobody acknowledges within `TCP_USER_TIMEOUT` ends the
connection, tcp(7), however busy either process is.  A process that is stopped is found by its silence.  While jobs
run, beats come often enough that a pulled cable ends them within the link timeout; an idle tree beats slowly.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from gproc.link.connection import Link
from gproc.wire.messages import Ping

IDLE_S: Final = 5.0
"""Between two beats of a link without jobs."""

SILENCE_S: Final = 20.0
"""A peer whose kernel answers but which says nothing for so long is frozen: DESIGN section 6."""

BEATS: Final = 4
"""Beats per link timeout, while jobs run: the last beat before a cut is acknowledged, the next one is not."""


class Heartbeats:
    """Beats on all links of one process.  `links` and `busy` are asked anew for each beat."""

    def __init__(self, links: Callable[[], Iterable[Link]], busy: Callable[[], bool], link_timeout_s: float) -> None:
        self._links = links
        self._busy = busy
        self._busy_s = link_timeout_s / BEATS
        self._timer: asyncio.TimerHandle | None = None
        self._fast = False

    def start(self) -> None:
        self._beat()

    def quicken(self) -> None:
        """A job begins: beat now, and often from now on."""
        if not self._fast:
            self.stop()
            self._beat()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        now_s = time.monotonic()
        self._fast = self._busy()
        for link in self._links():
            # What was written a moment ago is as good as a beat.
            if now_s - link.written_s >= self._busy_s / 2:
                link.send(Ping())
            if now_s - link.heard_s > SILENCE_S:
                link.abort(f"said nothing for {SILENCE_S:.0f} s")
        pause_s = self._busy_s if self._fast else IDLE_S
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._beat)
