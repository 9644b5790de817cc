"""Keeps a little free memory for what passes through, and gives the memory of large jobs back when they have ended.

A job's request is a value of many small words, and parts of a job refer to each other.  Python finds such parts late,
and the C library keeps what is free: a slave that had run 400 jobs with an environment of 4 MB kept 396 MB.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Final

from gproc.root import kernel

LARGE_BYTES: Final = 128 << 10
"""Tickets from this size on are large: an ordinary environment has some 5 KB."""

PAUSE_S: Final = 1.0
"""Seconds after the end of a large job: others that end meanwhile are cleared away with it."""


class Memory:
    """Knows whether there is something to give back."""

    def __init__(self) -> None:
        kernel.keep_freed_memory()
        self._timer: asyncio.TimerHandle | None = None

    def ended(self, ticket_bytes: int) -> None:
        """A job with such a ticket has ended."""
        if ticket_bytes >= LARGE_BYTES and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._give_back)

    def _give_back(self) -> None:
        self._timer = None
        gc.collect()
        kernel.give_memory_back()
