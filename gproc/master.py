"""The master: root of the tree and signer of tickets.  `gproc.service` holds what it does for clients.

Trust: the master learns a client's user from the kernel (SO_PEERCRED), and trusts neither clients nor nodes in anything
else.  It never opens a path that a client or a node named.  It receives bundles as chunks, and hashes each.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
from typing import TYPE_CHECKING

from gproc.nodespec import format_path
from gproc.relay.hub import Hub
from gproc.service.clients import Clients
from gproc.service.jobs import Job
from gproc.service.offers import BundleOffers
from gproc.service.service import JobService
from gproc.spread.passing import PassingFetcher
from gproc.tree import place_of
from gproc.trust.ticket import SESSION_BYTES, Grant, Signer, Ticket
from gproc.wire import messages
from gproc.wire.messages import Arrived, Left

if TYPE_CHECKING:
    import ssl

    from gproc.store.store import Store
    from gproc.trust.identity import Identity

log = logging.getLogger("gproc")


class Master(Hub):
    """The one master of a cluster.  `run()` returns after `end()`."""

    def __init__(
        self, *, identity: Identity, context: ssl.SSLContext, signer: Signer, store: Store, link_timeout_s: float
    ) -> None:
        super().__init__(store, context, link_timeout_s)
        self.fetcher = PassingFetcher(store, self)
        self._signer = signer
        self._session = os.urandom(SESSION_BYTES)
        self._sequence = itertools.count(1)
        """Numbers for the tickets and grants that the master signs: each is higher than all before it."""
        self._offers = BundleOffers(self.fetcher, self)
        self._service = JobService(self, self._offers, identity.name)
        self.clients = Clients(self._service)

    def end_on_signals(self) -> None:
        """Let SIGINT and SIGTERM end `run`.  From then on the sockets are removed in any case."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.end)

    async def run(self) -> None:
        self.heartbeats.start()
        await self.stopped
        self.heartbeats.stop()
        log.info("shutting down %d nodes", len(self.tree))
        self.clients.close()
        await self.children.close(messages.Shutdown("the master has ended"))

    def sign_job(self, job: Job) -> messages.Signed:
        return self._signer.sign_ticket(
            Ticket(
                session=self._session, sequence=next(self._sequence), job=job.number, caller=job.caller,
                request=job.request,
            )
        )  # fmt: skip

    # `relay.hub.Hub`

    def tell(self, change: Arrived | Left) -> None:
        """Log a change of the tree, and send a new node its grant: a node without one accepts no ticket."""
        place = place_of(change.route)
        if isinstance(change, Left):
            log.info("left: %s: %s", format_path(place), change.reason)
            return
        log.info("arrived: %s (%s)", format_path(place), change.node.name)
        grant = Grant(self._session, change.node.nonce, place, next(self._sequence))
        self.send_grant(change.route, self._signer.sign_grant(grant))

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        self._offers.ask(bundle, digests)

    def child_load(self, message: messages.Load) -> None:
        self._service.add_loads(message)
