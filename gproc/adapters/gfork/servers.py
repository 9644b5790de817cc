"""The processes that serve connections: each is started for its client, linked, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections import Counter
from typing import Final

import msgspec

from gproc.adapters.gfork.frames import READ_VARIABLE, WRITE_VARIABLE
from gproc.adapters.gfork.journal import Journal
from gproc.adapters.gfork.links import ProcessEnds
from gproc.adapters.gfork.listening import shown_address
from gproc.adapters.gfork.refusals import CrowdRefusals
from gproc.adapters.gfork.settings import ServiceSettings
from gproc.adapters.gfork.spawning import RunAs, Spawner, SpawnPlan, ending_of, signal_group
from gproc.adapters.gfork.switchboard import Switchboard
from gproc.link.refusals import Refusals
from gproc.shown import reason_of

ACCEPTS: Final = 16
"""Connections that are taken one after the other before links and ended processes get their turn."""

RETRY_S: Final = 1.0
"""After an error of accept(2), such as too many open files."""

_OUT_OF: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN}


class ServicePlan(msgspec.Struct, frozen=True):
    """What a connection gets, with all names looked up.  environment: all but what names the link."""

    settings: ServiceSettings
    identity: RunAs
    environment: dict[str, str]


class Servers:
    """plan: may be exchanged while connections are served; they keep what they have."""

    def __init__(self, plan: ServicePlan, spawner: Spawner, board: Switchboard, journal: Journal) -> None:
        self.plan = plan
        self.spawner = spawner
        self.journal = journal
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._refusals = CrowdRefusals()
        self._noted = Refusals()
        self._addresses: dict[int, str] = {}  # of the clients, by pid
        self._by_address: Counter[str] = Counter()
        self._listeners: list[socket.socket] = []
        self._retry: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._addresses)

    def __contains__(self, pid: int) -> bool:
        return pid in self._addresses

    def listen_to(self, listeners: list[socket.socket]) -> None:
        self._listeners = listeners
        for listener in listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def stop_listening(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners = []
        self._refusals.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                client, address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF:
                    self._wait_before_accept(listener, reason_of(error))
                    return
                continue  # the client gave up: accept(2) says to treat such errors as nothing
            with client:
                self._serve(client, "" if listener.family == socket.AF_UNIX else shown_address(address[0]))

    def _wait_before_accept(self, listener: socket.socket, reason: str) -> None:
        """Without this a connection that cannot be accepted would keep the loop busy."""
        self._complain("", f"no connection can be accepted: {reason}; trying again in {RETRY_S:g} s")
        self._loop.remove_reader(listener.fileno())
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._accept_again)

    def _accept_again(self) -> None:
        self._retry = None
        self.listen_to(self._listeners)

    def _serve(self, client: socket.socket, address: str) -> None:
        settings = self.plan.settings
        if address and not settings.access.allows(address):
            self.journal.connection(f"{address} may not connect")
            return
        if reason := self._crowded(address):
            self.journal.connection(f"{address} is refused: {reason}")
            self._refuse(client)
            return
        try:
            pid = self._start(client)
        except OSError as error:
            self._complain(address, f"{settings.server} cannot be started: {reason_of(error)}")
            if error.errno in _OUT_OF:
                self._refuse(client)
            return
        self._addresses[pid] = address
        self._by_address[address] += 1
        self.journal.connection(f"{address} is served by {pid}")

    def _complain(self, address: str, reason: str) -> None:
        """An error that clients can bring about as often as they like: the log has few lines about each of them."""
        if text := self._noted.note(address, reason, self._loop.time()):
            self.journal.error(text)

    def _crowded(self, address: str) -> str | None:
        settings = self.plan.settings
        if settings.instances is not None and len(self) >= settings.instances:
            return f"{len(self)} connections are served"
        if settings.per_source is not None and self._by_address[address] >= settings.per_source:
            return f"{self._by_address[address]} of its connections are served"
        return None

    def _refuse(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # no descriptor for the copy: the connection is closed without a word
            self._refusals.refuse(client.dup(), self.plan.settings.crowded)

    def _start(self, client: socket.socket) -> int:
        """Raises: OSError."""
        client.setblocking(True)
        if not self.plan.settings.masters:
            return self._spawn(client, None)
        link, ends = self._board.open_child()
        try:
            pid = self._spawn(client, ends)
        except OSError:
            link.close()
            raise
        finally:
            ends.close()
        self._board.start_child(pid, link)
        return pid

    def _spawn(self, client: socket.socket, ends: ProcessEnds | None) -> int:
        settings = self.plan.settings
        environment = self.plan.environment
        if ends is not None:
            environment = environment | {READ_VARIABLE: str(ends.read), WRITE_VARIABLE: str(ends.write)}
        return self.spawner.start(
            SpawnPlan(
                words=(settings.server, *settings.server_args),
                environment=environment,
                identity=self.plan.identity,
                umask=settings.umask,
                client=client.fileno(),
                links=() if ends is None else (ends.read, ends.write),
            )
        )

    def ended(self, pid: int, status: int) -> None:
        """A process of ours was waited for."""
        address = self._addresses.pop(pid)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        self._board.child_ended(pid)
        self.journal.connection(f"{pid} ended, {ending_of(status)}")

    def signal(self, number: signal.Signals) -> None:
        """Send it to every child and to the processes that it started."""
        for pid in self._addresses:
            signal_group(pid, number)
