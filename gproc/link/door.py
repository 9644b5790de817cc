"""A listening socket whose connections come in by turns: no peer can use up this process's descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Container
from typing import Final, Generic, TypeVar

from gproc.link.refusals import Refusals
from gproc.link.turns import Places, Turns, Verdict

log = logging.getLogger("gproc")

K = TypeVar("K")

BATCH: Final = 64
"""Connections that are accepted in one turn of the event loop: as many more come, the others' work goes on between."""

OUT_OF_DESCRIPTORS_S: Final = 0.5
"""Seconds until the next accept(2), if the last one failed for lack of descriptors."""


class Door(Generic[K]):
    """Accepts connections, and calls `visit` for each that may come in.  It stays in until `visit` returns.

    known_as: the key of a connection: its user or host.  refused: called with the key and the reason.  hurry_s: a visit
    that lasts longer is cancelled if another connection waits for its place; None: it never is.  trusted: keys that may
    take all places.  welcome: sent to each at once, also if it has to wait.  farewell: sent to connections that may not
    even wait.
    """

    def __init__(
        self, places: Places, known_as: Callable[[socket.socket], K],
        visit: Callable[[socket.socket, K], Awaitable[None]], refused: Callable[[K, str], None],
        hurry_s: float | None = None, trusted: Container[K] = (), welcome: bytes = b"", farewell: bytes = b"",
    ) -> None:  # fmt: skip
        self._turns: Turns[K, socket.socket] = Turns(places, trusted)
        self._known_as = known_as
        self._visit = visit
        self._refused = refused
        self._refusals = Refusals()
        self._hurry_s = hurry_s
        self._welcome = welcome
        self._farewell = farewell
        self._loop = asyncio.get_running_loop()
        self._listeners: list[socket.socket] = []
        self._visits: dict[asyncio.Task[None], tuple[float, K]] = {}
        """The time since when each visit lasts, and its key; the longest first."""
        self._hurrying: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        return bool(self._listeners)

    def open(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._listeners.append(listener)
        self._loop.add_reader(listener, self._accept, listener)

    def shut(self, listener: socket.socket) -> None:
        """Accept nothing more at this socket; connections that have come stay."""
        self._listeners.remove(listener)
        self._loop.remove_reader(listener)
        listener.close()

    def close(self) -> None:
        """Accept nothing more, and end all visits."""
        for listener in list(self._listeners):
            self.shut(listener)
        for connection in self._turns.empty():
            connection.close()
        for task in list(self._visits):
            task.cancel()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Probably no descriptor is free.  The connections that exist go on, and a later one may succeed.
                if (told := self._refusals.note("", error.strerror or "", self._loop.time())) is not None:
                    log.warning("cannot take a connection: %s", told)
                self._loop.remove_reader(listener)
                self._loop.call_later(OUT_OF_DESCRIPTORS_S, self._resume, listener)
                return
            connection.setblocking(False)
            self._arrived(connection)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def _arrived(self, connection: socket.socket) -> None:
        try:
            key = self._known_as(connection)
        except OSError:  # it has gone already
            connection.close()
            return
        try:
            if self._welcome:
                connection.send(self._welcome)
        except OSError:
            # The client may have told its user that we do not answer.  So do not do what it asked for.
            connection.close()
            self._refused(key, "closed the connection before it was answered")
            return
        match self._turns.arrive(key, connection):
            case Verdict.IN:
                self._let_in(connection, key)
            case Verdict.WAITS:
                self._hurry()
            case Verdict.SENT_AWAY:
                with contextlib.suppress(OSError):
                    connection.send(self._farewell)
                connection.close()
                self._refused(key, "too many connections are open and wait already")

    def _let_in(self, connection: socket.socket, key: K) -> None:
        task = asyncio.ensure_future(self._visited(connection, key))
        self._visits[task] = (self._loop.time(), key)
        task.add_done_callback(lambda task: self._left(task, connection, key))

    async def _visited(self, connection: socket.socket, key: K) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._visit(connection, key)

    def _left(self, task: asyncio.Task[None], connection: socket.socket, key: K) -> None:
        del self._visits[task]
        if task.cancelled():  # before it began
            connection.close()
        following = self._turns.leave(key)
        if following is not None:
            self._let_in(following[1], following[0])

    def _hurry(self) -> None:
        """End the longest visit in time, among the visits for whose place another connection waits."""
        if self._hurry_s is None or self._hurrying is not None:
            return
        pressed = [since_s for since_s, key in self._visits.values() if self._turns.is_pressed(key)]
        if pressed:
            self._hurrying = self._loop.call_at(pressed[0] + self._hurry_s, self._end_the_longest)

    def _end_the_longest(self) -> None:
        self._hurrying = None
        assert self._hurry_s is not None
        late_s = self._loop.time() - self._hurry_s
        for task, (since_s, key) in list(self._visits.items()):
            if since_s <= late_s and self._turns.is_pressed(key):
                task.cancel()
        # Cancelled visits leave in the next turn of the event loop.
        self._loop.call_soon(self._hurry)
