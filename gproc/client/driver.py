"""Moves a session's bytes by poll(2), in one thread, without asyncio: `gproc e` and `gproc.Cluster` are built on it."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator, Sequence

from gproc.client.chunks import ChunkServer
from gproc.client.connection import Connection
from gproc.client.session import ChunksWanted, SessionEvent
from gproc.client.session_job import SessionJob
from gproc.naming.naming import PLACES, Naming
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.wire.job_messages import Keep
from gproc.wire.task_messages import TaskListing


class PollDriver:
    """One connection to the master.  Call `wait` and `events` in turns, until what you want has happened."""

    def __init__(self, socket_path: str, *, waits: bool = True) -> None:
        """waits: as for `Connection`.  Raises: NoMaster, MasterSilent, TrustError."""
        self.connection = Connection(socket_path, waits=waits)
        self.session = self.connection.session
        self.chunks = ChunkServer(self.session)
        self._readable = False

    def submit(
        self, request: Request, bundle: Bundle | None, keep: Keep | None = None, naming: Naming = PLACES,
        listing: TaskListing | None = None,
    ) -> SessionJob:  # fmt: skip
        if bundle is not None:
            self.chunks.offer(bundle)
        return self.session.submit(request, keep, naming, listing)

    def wait(self, watch: Sequence[int] = (), timeout_s: float | None = None) -> set[int]:
        """Wait until the master has sent something, or a descriptor of `watch` can be read, or the time is up.

        Returns the descriptors of `watch` that can be read or are at their end.  Raises: LinkLost.
        """
        return self.note(self.poller(watch).poll(self.poll_ms(timeout_s)))

    def poller(self, watch: Sequence[int] = ()) -> select.poll:
        """The poll object of `wait`, for a caller that polls by itself and gives the result to `note`."""
        # Asked before the flush: a caller that waits until all is sent must wake even if this flush sends the rest.
        sending = bool(self.session.outbox) or self.chunks.busy
        self.connection.flush()
        poll = select.poll()
        poll.register(self.connection, select.POLLIN | (select.POLLOUT if sending else 0))
        for descriptor in watch:
            poll.register(descriptor, select.POLLIN)
        return poll

    def poll_ms(self, timeout_s: float | None) -> float | None:
        """How long poll(2) may wait, in milliseconds: not beyond the time for the master's first answer."""
        hello_s = self.connection.hello_s
        if hello_s is not None:
            timeout_s = hello_s if timeout_s is None else min(timeout_s, hello_s)
        return None if timeout_s is None else timeout_s * 1000

    def note(self, found: Iterable[tuple[int, int]]) -> set[int]:
        """Take the result of poll(2).  Returns the watched descriptors in it.

        Raises: MasterSilent if its first answer is overdue.
        """
        handles = {handle for handle, _ in found}
        own = self.connection.fileno()
        self._readable = own in handles
        if not self._readable:
            self.connection.check_hello()
        return handles - {own}

    def events(self) -> Iterator[SessionEvent]:
        """The events that the last `wait` found.  Raises: LinkLost, PeerError."""
        if not self._readable:
            return
        self._readable = False
        self.connection.flush()
        self.chunks.serve()
        for event in self.connection.receive():
            if isinstance(event, ChunksWanted):
                self.chunks.want(event)
            else:
                yield event
        self.connection.flush()

    def close(self) -> None:
        self.connection.close()


def check_master(socket_path: str) -> None:
    """Wait for the first answer of a master for which much is about to be read.

    Raises: NoMaster, MasterSilent, LinkLost, TrustError; PeerError if it speaks another version.
    """
    driver = PollDriver(socket_path)
    try:
        while not driver.session.greeted:
            driver.wait()
            for _ in driver.events():
                pass  # nothing was asked
    finally:
        driver.close()
