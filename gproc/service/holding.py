"""Jobs that are over while the disk takes no record of that: their nodes keep what they have said until it does.

If the master crashes before, the next one finds such a job as one that was interrupted, and asks those nodes; if they
had forgotten it, ranks that returned would be called lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gproc.errors import GprocError
from gproc.records.keeper import RecordKeeper
from gproc.service.live import LiveJob

HELD_MAX: Final = 256
"""The most jobs that are held, because each grant names them all, and nodes keep their outcomes.  If there are more,
the oldest are released."""

AGAIN_S: Final = 1.0
"""The keeper tries as often."""


class HeldJobs:
    """release: tells the nodes of a job to forget it."""

    def __init__(self, keeper: RecordKeeper, release: Callable[[LiveJob], None]) -> None:
        self._keeper = keeper
        self._release = release
        self._jobs: dict[LiveJob, None] = {}
        """The oldest first."""
        self._waiting: asyncio.Task[None] | None = None

    async def settle(self, live: LiveJob) -> None:
        """Release the job when the disk has its record.  This waits only for the first attempt."""
        try:
            await self._keeper.written()
        except GprocError:
            self._hold(live)
        else:
            self._release(live)

    def _hold(self, live: LiveJob) -> None:
        self._jobs[live] = None
        while len(self._jobs) > HELD_MAX:
            self._let_go(next(iter(self._jobs)))
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while self._jobs:
            await asyncio.sleep(AGAIN_S)
            held = list(self._jobs)
            try:
                await self._keeper.written()
            except GprocError:
                continue
            for live in held:
                if live in self._jobs:  # it may have been released meanwhile
                    self._let_go(live)

    def _let_go(self, live: LiveJob) -> None:
        del self._jobs[live]
        self._release(live)
