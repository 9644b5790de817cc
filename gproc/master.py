"""The master: root of the tree and signer of tickets.  `gproc.service` holds what it does for clients.

Trust: the master learns a client's user from the kernel (SO_PEERCRED), and trusts neither clients nor nodes in anything
else.  It never opens a path that a client or a node named.  It receives bundles as chunks, and hashes each.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING

from gproc.nodespec import format_path
from gproc.relay.belonging import Belonging
from gproc.relay.hub import Hub
from gproc.service.clients import Clients
from gproc.service.jobs import JobRecord
from gproc.service.live import SignedJob
from gproc.service.offers import BundleOffers
from gproc.service.service import JobService
from gproc.spread.passing import PassingFetcher
from gproc.tree import place_of
from gproc.trust.lease import Lease, boottime_s
from gproc.trust.orders import JobSigner, TreeEnds
from gproc.trust.signing import SESSION_BYTES, Context, Signer
from gproc.trust.ticket import Grant, Ticket, start_by_ms
from gproc.wire import messages
from gproc.wire.messages import Arrived, Left, Route

if TYPE_CHECKING:
    import ssl

    from gproc.policy.warden import Warden
    from gproc.store.store import Store
    from gproc.trust.identity import Identity

log = logging.getLogger("gproc")


class Master(Hub):
    """The one master of a cluster.  `run()` returns after `end()`."""

    def __init__(
        self, *, identity: Identity, context: ssl.SSLContext, signer: Signer, store: Store, belonging: Belonging,
        link_timeout_s: float, warden: Warden,
    ) -> None:  # fmt: skip
        super().__init__(store, context, belonging, link_timeout_s)
        self._own_name = identity.name
        self.fetcher = PassingFetcher(store, self, lambda bundle: self._offers.replace(bundle))
        self._signer = signer
        self._session = os.urandom(SESSION_BYTES)
        self._began_s = boottime_s()
        self._sequence = 0
        """The number of the last ticket or grant that was signed: each is higher than all before it."""
        self._offers = BundleOffers(self.fetcher, self)
        self._service = JobService(self, self._offers, identity.name, warden)
        self.clients = Clients(self._service, warden.limits())

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
        order = self._signer.sign(Context.END, TreeEnds(self._session))
        await self.children.close(messages.Shutdown("the master has ended", order))

    def sign_job(self, job: JobRecord) -> SignedJob:
        self._sequence += 1
        ticket = Ticket(
            session=self._session, sequence=self._sequence, job=job.number,
            start_by_ms=start_by_ms(self._clock_ms(), job.request), caller=job.caller, request=job.request,
        )  # fmt: skip
        signer = JobSigner(self._signer, self._session, job.number)
        return SignedJob(self._signer.sign(Context.TICKET, ticket), signer)

    def _clock_ms(self) -> int:
        return int((boottime_s() - self._began_s) * 1000)

    # `relay.hub.Hub`

    def objection(self, change: Arrived) -> str:
        """A node below a rack master: is it where the locale places it, and nowhere else?"""
        name, route = change.node.name, change.route
        above = Route(route[:-1])
        if above not in self.tree:
            return "the node above it is not there"
        if name in (self._own_name, self.tree[above].name):
            return ""
        if why := self.belonging.misplaced(name, route[-1], self.tree[above].name, parent_is_master=False):
            return why
        other = self.tree.route_named(name)
        if other in (None, route):
            return ""
        return f"{name} is here already, as {format_path(place_of(other))}: a certificate has one place"

    def tell(self, change: Arrived | Left) -> None:
        """Log a change of the tree, and send a new node its grant: a node without one accepts no ticket."""
        place = place_of(change.route)
        if isinstance(change, Left):
            log.info("left: %s: %s", format_path(place), change.reason)
            return
        log.info("arrived: %s (%s)", format_path(place), change.node.name)
        self._sequence += 1
        grant = Grant(self._session, change.node.nonce, place, self._sequence, self._clock_ms())
        self.pass_down(messages.Granted(change.route, self._signer.sign(Context.GRANT, grant)))

    def ask_lease(self, question: messages.AskLease) -> None:
        if question.route not in self.tree:
            return
        jobs = self._service.jobs_at(place_of(question.route))
        lease = Lease(self._session, question.nonce, self._sequence, self._clock_ms(), jobs)
        self.pass_down(messages.Leased(question.route, self._signer.sign(Context.LEASE, lease)))

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        self._offers.ask(bundle, digests)

    def child_load(self, message: messages.Load) -> None:
        self._service.add_loads(message)
