"""Connections that ask for nothing do not keep others out: each may be silent for a while, and few at a time."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 10.0
"""Within so many seconds the head of the first request must have come."""

SILENT_MAX: Final = 64
"""So many may wait with it.  One more ends the one that has waited longest: a browser asks within milliseconds."""


class HastyProtocol(H11Protocol):
    """uvicorn's, which waits for ever for a first request, and counts the connection."""

    _silent: Final[dict[HastyProtocol, asyncio.TimerHandle]] = {}
    """Those whose first request has not come, the longest first."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._silent[self] = self.loop.call_later(HEAD_S, transport.abort)
        if len(self._silent) > SILENT_MAX:
            longest = next(iter(self._silent))
            longest._has_spoken()
            longest.transport.abort()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None:
            self._has_spoken()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_spoken()
        super().connection_lost(exc)

    def _has_spoken(self) -> None:
        if (timer := self._silent.pop(self, None)) is not None:
            timer.cancel()
