"""Clients above the limit: each is told so, and its connection ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

LINGER_S: Final = 2.0
MAX_LINGERING: Final = 64
"""Connections that wait for their client's end at once.  More are closed at once."""


class CrowdRefusals:
    """A connection that is closed while the client's words are unread is reset, and the client may never see ours.

    So the client's words are read until it ends the connection, for LINGER_S at most.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[socket.socket, asyncio.TimerHandle] = {}

    def refuse(self, client: socket.socket, text: bytes) -> None:
        """Send the text, as far as a new connection takes it at once, and close the connection."""
        client.setblocking(False)
        try:
            client.send(text)
            client.shutdown(socket.SHUT_WR)
        except OSError:  # the client is gone
            client.close()
            return
        if len(self._timers) >= MAX_LINGERING:
            client.close()
            return
        self._timers[client] = self._loop.call_later(LINGER_S, self._close, client)
        self._loop.add_reader(client.fileno(), self._discard, client)

    def close(self) -> None:
        for client in list(self._timers):
            self._close(client)

    def _discard(self, client: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                if client.recv(64 << 10):
                    return
            except ConnectionError:
                pass
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        self._timers.pop(client).cancel()
        self._loop.remove_reader(client.fileno())
        client.close()
