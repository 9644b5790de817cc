"""The master of a front end: data nodes register here, and each server is told of those whose turn it is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from gproc.adapters.gfork.listening import listen_everywhere, shown_address
from gproc.adapters.gfork.peers import ChildClosed, ChildOpened, ChildSent, Master
from gproc.adapters.gridftp.backends import Backends, entries
from gproc.adapters.gridftp.journal import log
from gproc.adapters.gridftp.memory import Kill, MemoryPool, Share
from gproc.adapters.gridftp.names import may_register
from gproc.adapters.gridftp.options import RegistryOptions
from gproc.adapters.gridftp.packets import (
    PACKET_BYTES,
    READY,
    BadPacket,
    MessageKind,
    Registration,
    answer,
    memory_limit,
    read_packet,
    released_limit,
)
from gproc.adapters.gridftp.security import node_name
from gproc.addresses import host_of, neighbourhood_of
from gproc.errors import LinkLost, TrustError
from gproc.link.door import Door
from gproc.link.refusals import Refusals
from gproc.link.turns import Places
from gproc.shown import reason_of, shown_text
from gproc.trust.identity import Identity
from gproc.trust.tls import explain, server_context

PATIENCE_S: Final = 15.0
"""For one registration, from its connection to its answer: the time-out of Globus' data nodes."""

PLACES: Final = Places(each=64, all=256, waiting_each=64, waiting_all=256)
"""Registrations that are on their way at once, of one address and together, and those that wait.  More are closed."""

HURRY_S: Final = 3.0
"""For a registration for whose place another waits.  It takes some milliseconds."""

GOODBYE_S: Final = 1.0
"""How long a connection that is closed waits for the other end's word.  It counts until then."""


class GridftpServers:
    """The GridFTP servers below this gfork: what each was told.

    backends: None for a data node, whose servers have none.  pool: None for no limit of memory.
    """

    def __init__(self, master: Master, backends: Backends | None, stripes: int, pool: MemoryPool | None) -> None:
        self._master = master
        self._backends = backends
        self._stripes = stripes
        self._pool = pool
        self._given: dict[int, int] = {}  # how many data nodes each server knows; none for one that waits

    async def run(self) -> None:
        """Until gfork ends."""
        with suppress(LinkLost):
            async for event in self._master:
                match event:
                    case ChildOpened(pid):
                        log.info("server %d began", pid)
                        await self._decide(self._pool.opened(pid) if self._pool else [Share(pid, 0)])
                    case ChildClosed(pid):
                        log.info("server %d ended", pid)
                        self._given.pop(pid, None)
                        await self._decide(self._pool.closed(pid) if self._pool else [])
                    case ChildSent(pid, data):
                        limit = released_limit(data)
                        if self._pool and limit is not None:
                            self._pool.released(pid, limit)
        log.info("gfork ended")

    async def _decide(self, decisions: list[Share | Kill]) -> None:
        for decision in decisions:
            if isinstance(decision, Share):
                await self._begin(decision)
            else:
                log.info("server %d is ended: there is no memory for it", decision.pid)
                try:
                    os.kill(decision.pid, signal.SIGKILL)
                except OSError as error:
                    log.error("server %d cannot be ended: %s", decision.pid, reason_of(error))

    async def _begin(self, grant: Share) -> None:
        """Its data nodes, then its memory, then READY: it waits for that."""
        taken = self._backends.take(self._stripes, time.monotonic()) if self._backends is not None else []
        self._given[grant.pid] = len(taken)
        if taken:
            await self._master.send(grant.pid, entries(taken))
        if self._pool:
            await self._master.send(grant.pid, memory_limit(grant.limit_bytes))
        await self._master.send(grant.pid, READY)
        log.info("server %d has %d data nodes and %s", grant.pid, len(taken), _amount(grant.limit_bytes))

    async def tell_of(self, registration: Registration) -> None:
        """A data node is new: servers that have fewer than they may have get it too."""
        for pid, given in list(self._given.items()):
            if not self._stripes or given < self._stripes:
                self._given[pid] = given + 1
                with suppress(LinkLost):
                    await self._master.send(pid, entries([registration]))


def _amount(limit_bytes: int) -> str:
    return f"{limit_bytes:,} bytes for buffers" if limit_bytes else "no limit"


class Registrar:
    """Takes registrations.  own: None for -G n."""

    def __init__(
        self, options: RegistryOptions, backends: Backends, servers: GridftpServers, own: Identity | None
    ) -> None:
        self._options = options
        self._backends = backends
        self._servers = servers
        self._own = own
        self._context = server_context(own) if own else None
        self._noted = Refusals()

    def listen(self) -> Door[str]:
        """Raises: CannotListen."""
        listener = listen_everywhere(self._options.port)
        listener.listen(PLACES.all)
        # Handshakes count too: an address that is silent in 256 of them must not keep the data nodes out.
        door = Door(PLACES, neighbourhood_of, self._serve, self._complain, HURRY_S)
        door.open(listener)
        log.info("data nodes register at port %d", listener.getsockname()[1])
        return door

    async def _serve(self, connection: socket.socket, near: str) -> None:
        """One registration, from its connection to its answer.  near: its `neighbourhood_of`."""
        try:
            peer = shown_address(host_of(connection))
            async with asyncio.timeout(PATIENCE_S), self._streams(connection) as (reader, writer):
                await self._answer(peer, reader, writer)
        except (TimeoutError, asyncio.IncompleteReadError):
            self._complain(near, "no whole registration came")
        except OSError as error:
            self._complain(near, explain(error))
        except asyncio.CancelledError:
            self._complain(near, "no whole registration came, and others wait for their turn")
            raise
        finally:
            connection.close()

    @asynccontextmanager
    async def _streams(
        self, connection: socket.socket
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """The connection's two ends, behind its handshake.  What was written is sent when the block has ended."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        patience_s, goodbye_s = (PATIENCE_S, GOODBYE_S) if self._context else (None, None)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=patience_s,
            ssl_shutdown_timeout=goodbye_s,
        )  # fmt: skip
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            yield reader, writer
            writer.close()
            with suppress(OSError):  # it has its answer, or does not want it
                await writer.wait_closed()
        finally:
            transport.abort()

    async def _answer(self, peer: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self._check_name(writer)
            new = self._take(peer, await reader.readexactly(PACKET_BYTES))
            if new is not None:  # before the answer, which may never arrive: the node's next packet is no new one
                await self._servers.tell_of(new)
            writer.write(answer(MessageKind.ACK))
        except (BadPacket, TrustError) as error:
            self._complain(peer, f"is refused: {error}")
            writer.write(answer(MessageKind.NACK))
        await writer.drain()

    def _complain(self, peer: str, reason: str) -> None:
        """The log has few lines about each peer."""
        if text := self._noted.note(peer, reason, time.monotonic()):
            log.error("%s: %s", peer, shown_text(text))

    def _check_name(self, writer: asyncio.StreamWriter) -> None:
        """Raises: TrustError if this node may not register."""
        if self._own is None:
            return
        node = node_name(writer.get_extra_info("ssl_object"), self._own)
        if self._options.names_file is not None and not may_register(
            self._options.names_file, (node.name, node.uri())
        ):
            raise TrustError(f"{node} is not in {self._options.names_file}")

    def _take(self, peer: str, packet: bytes) -> Registration | None:
        """Returns: the data node, if servers may want to know of it.  Raises: BadPacket."""
        kind, registration = read_packet(packet)
        now_s = time.monotonic()
        for contact in self._backends.expire(now_s):
            log.info("%s has not registered again; it is taken out", contact)
        if kind is MessageKind.REMOVE:
            if not self._backends.remove(registration.contact):
                raise BadPacket(f"{registration.contact} is not registered")
            log.info("%s is taken out by %s", registration.contact, peer)
            return None
        before = len(self._backends)
        if not self._backends.register(registration, now_s):
            raise BadPacket(f"there are {before} data nodes; the limit is reached")
        is_new = len(self._backends) > before
        if is_new:
            log.info("%s is registered by %s", registration.contact, peer)
        return registration if is_new else None
