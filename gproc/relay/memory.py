"""Keeps a little free memory for what passes through, and gives the rest back when jobs have ended.

The C library returns only what is free at the top of its heap, and one small value there keeps all below it.  A master
whose nodes were cut off and came back, while jobs wrote and files were sent, had 8 MiB in use and kept 50 MiB more.

A job's request is a value of many small words, and parts of a job refer to each other.  Python finds such parts late: a
slave that had run 400 jobs with an environment of 4 MB kept 396 MB.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from contextlib import suppress
from typing import Final, NamedTuple

from gproc.root import kernel

LARGE_BYTES: Final = 128 << 10
"""Tickets from this size on are large: an ordinary environment has some 5 KB."""

MORE_BYTES: Final = 8 << 20
"""Bytes of free memory that are worth the time to give them back.  A copy of 200 MB leaves less than that."""

PAUSE_S: Final = 1.0
"""Seconds after the end of a job: others that end meanwhile are cleared away with it."""


class _Size(NamedTuple):
    """In bytes.  private: resident memory without files' and shared pages; freed: what the C library has free.

    Memory may count in both.  Memory that was given back leaves `freed` as it was.  Memory that is used and free once
    more leaves `private` as it was.
    """

    private: int
    freed: int


class Memory:
    """Knows whether there is something to give back."""

    def __init__(self) -> None:
        kernel.keep_freed_memory()
        self._timer: asyncio.TimerHandle | None = None
        self._least = _size()
        self._had_large = False

    def ended(self, ticket_bytes: int) -> None:
        """A job with such a ticket has ended."""
        self._had_large = self._had_large or ticket_bytes >= LARGE_BYTES
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._look)

    def _look(self) -> None:
        self._timer = None
        size = _size()
        if self._had_large or any(now > then + MORE_BYTES for now, then in zip(size, self._least, strict=True)):
            gc.collect()
            kernel.give_memory_back()
            self._had_large = False
            self._least = _size()
        else:
            self._least = _Size(*map(min, size, self._least))


def _size() -> _Size:
    private_pages = 0
    with suppress(OSError), open("/proc/self/statm", "rb") as file:  # proc_pid_statm(5)
        _, resident, shared, *_ = map(int, file.read().split())
        private_pages = resident - shared
    return _Size(private_pages * resource.getpagesize(), kernel.freed_bytes())
