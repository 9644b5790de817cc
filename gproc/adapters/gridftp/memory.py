"""How much memory each GridFTP server may use, so that all together stay below a limit.  Pure.

The rules are those of Globus' master, with its constants: the first servers share nine tenths of the limit, each later
one gets half of what is left, and one that would get too little waits, or is ended.  One rule is added: if a first
server's share is not there any more, it gets half of what is left, too.  With a limit of 64 MiB, Globus' master ends
every second client.
"""

from __future__ import annotations

from typing import Final

import msgspec

MIB: Final = 1 << 20
IDLE: Final = 2 * MIB
"""A server without a transfer, in bytes: GFSGforkSizeOfIdleServer of Globus."""

LEAST: Final = 3 * MIB // 2
"""The least that is worth giving: GFSGforkMinMem, three TCP buffers of 512 KiB."""

TRIES: Final = 2
"""At its beginning, and once more when another server has ended."""

BUFFERS: Final = 3
"""A server is told a third of what it is given: it uses about three times its limit for TCP's buffers."""

MAX_LIMIT: Final = 2**31 - 1
"""What a server can be told: it keeps the limit in a C int."""


class Share(msgspec.Struct, frozen=True):
    """Tell the server this limit, in bytes, and that it may begin."""

    pid: int
    limit_bytes: int


class Kill(msgspec.Struct, frozen=True):
    """There is no memory for this server."""

    pid: int


class _Holder(msgspec.Struct):
    """bytes: all that it has of the memory, its idle size included.  limit_bytes: what it was told."""

    bytes: int
    limit_bytes: int


class MemoryPool:
    """limit_bytes: for all servers together.  sharers: how many share nine tenths of it."""

    def __init__(self, limit_bytes: int, sharers: int = 2) -> None:
        self._limit = limit_bytes
        self._sharers = sharers
        self.available = limit_bytes - LEAST - IDLE
        self._most = self.available // IDLE
        self._open: set[int] = set()
        self._holders: dict[int, _Holder] = {}
        self._waiting: dict[int, int] = {}  # tries that are left, by pid

    @property
    def held(self) -> int:
        """Bytes that servers have.  With `available` always the same."""
        return sum(holder.bytes for holder in self._holders.values()) + IDLE * len(self._waiting)

    def opened(self, pid: int) -> list[Share | Kill]:
        """A server began.  An empty result: it waits."""
        self._open.add(pid)
        if len(self._open) >= self._most or self.available - LEAST - IDLE <= 0:
            return [Kill(pid)]
        self.available -= IDLE
        self._waiting[pid] = TRIES
        return self._try(pid)

    def closed(self, pid: int) -> list[Share | Kill]:
        """A server ended; those that wait are tried again."""
        self._open.discard(pid)
        if holder := self._holders.pop(pid, None):
            self.available += holder.bytes
        if self._waiting.pop(pid, None) is not None:
            self.available += IDLE
        return [decision for waiting in list(self._waiting) for decision in self._try(waiting)]

    def released(self, pid: int, limit_bytes: int) -> None:
        """A server says that a smaller limit is enough for it."""
        holder = self._holders.get(pid)
        if holder is None or not 0 < limit_bytes < holder.limit_bytes:
            return
        back = BUFFERS * (holder.limit_bytes - limit_bytes)
        holder.limit_bytes = limit_bytes
        holder.bytes -= back
        self.available += back

    def _try(self, pid: int) -> list[Share | Kill]:
        self._waiting[pid] -= 1
        given = self._share()
        if given < LEAST or (given < IDLE - 1 and self._waiting[pid] <= 0):
            del self._waiting[pid]
            self.available += IDLE
            return [Kill(pid)]
        if given < IDLE - 1:
            return []
        del self._waiting[pid]
        limit = min(given // BUFFERS, MAX_LIMIT)
        given = min(given, MAX_LIMIT * BUFFERS)
        self.available -= given
        self._holders[pid] = _Holder(IDLE + given, limit)
        return [Share(pid, limit)]

    def _share(self) -> int:
        """What one server would get now."""
        if len(self._open) <= self._sharers:
            share = self._limit * 9 // 10 // self._sharers
            if share < self.available:
                return share
        return self.available // 2
