"""The master: root of the tree and signer of tickets.  `gproc.service` holds what it does for clients.

Trust: the master learns a client's user from the kernel (SO_PEERCRED), and trusts neither clients nor nodes in anything
else.  It never opens a path that a client or a node named.  It receives bundles as chunks, and hashes each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from typing import TYPE_CHECKING, Final

import msgspec

from gproc.nodespec import Place, fold
from gproc.records.present import KeptNode, packed_node
from gproc.relay.belonging import Belonging
from gproc.relay.hub import Hub
from gproc.service.absences import Absences
from gproc.service.certificates import CertificateDesk
from gproc.service.clients import Clients
from gproc.service.continuing import CRASHED, restore_nodes
from gproc.service.drained_tasks import tell_of_drained
from gproc.service.draining import Draining
from gproc.service.faults import Faults
from gproc.service.finding import NodeFinder
from gproc.service.jobs import JobRecord
from gproc.service.node_keys import NodeKeys
from gproc.service.offers import BundleOffers
from gproc.service.polling import TreeInquiries
from gproc.service.regained import Regained
from gproc.service.registry import Node, Registry, together
from gproc.service.rotating import Rotation
from gproc.service.service import JobService
from gproc.spread.passing import PassingFetcher, is_kept_by_master
from gproc.trust.lease import LEASE_S, Lease, boottime_s
from gproc.trust.orders import JobSigner, SignedJob, TreeEnds
from gproc.trust.signing import Context, Signer
from gproc.trust.ticket import Grant, Ticket, start_by_ms
from gproc.trust.turn import Turn
from gproc.wire import messages
from gproc.wire.credentials import AskCertificate
from gproc.wire.loads import Load
from gproc.wire.messages import Arrived, Left, NodeInfo, Route, Signed
from gproc.wire.stacks import StacksShown
from gproc.wire.tree_rows import MasterCounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gproc.policy.warden import Warden
    from gproc.records.session import MasterSession
    from gproc.records.spooling import Spools
    from gproc.relay.relayed_job import RelayedJob
    from gproc.service.book import JobBook
    from gproc.store.root import Root
    from gproc.store.store import Store
    from gproc.trust.authority import Authority
    from gproc.trust.endpoint import Endpoint
    from gproc.trust.identity import Identity

log = logging.getLogger("gproc")

RETURN_S: Final = 3.0
"""Seconds for which a master that ends waits for nodes whose parents have just died: so long they need to find another
parent."""


class Master(Hub):
    """The one master of a cluster.  `run()` returns after `end()`."""

    def __init__(
        self, *, authority: Authority, endpoint: Endpoint, reissue: Callable[[], Identity], signer: Signer,
        store: Store, belonging: Belonging, link_timeout_s: float, warden: Warden, book: JobBook,
        spools: Spools, session: MasterSession, draining: Draining, lease_s: float = LEASE_S,
    ) -> None:  # fmt: skip
        """reissue: the master's own identity, made anew if it will end soon.

        lease_s: how long a node may run programs after it has heard of this master for the last time."""
        super().__init__(store, endpoint, belonging, link_timeout_s)
        self.registry = Registry()
        self._node_keys = NodeKeys(authority)
        self.absences = Absences()
        self.draining = draining
        self.faults = Faults()
        self._regained = Regained()
        self._lease_s = lease_s
        self._own_name = endpoint.identity.name
        self.fetcher = PassingFetcher(
            store, self, self.is_wanted_below, lambda bundle: self._offers.replace(bundle), is_kept_by_master
        )
        self._signer = signer
        self._session = session
        self._returned = asyncio.Event()
        """A node has another parent."""
        self._offers = BundleOffers(self.fetcher, self)
        self._book = book
        self._spools = spools
        self._service = JobService(self, self._offers, warden, book, spools)
        store.payer_of = self._service.payer_of
        finder = NodeFinder(self, belonging.place_of, belonging.groups)
        self._inquiries = TreeInquiries(
            self, endpoint.identity.name, self._service.busy, finder, self._service.oversight,
            lambda places: tell_of_drained(self._service.running(), places),
        )  # fmt: skip
        self.clients = Clients(self._service, self._inquiries, warden.limits())
        rotation = Rotation(authority, endpoint, signer, reissue, self)
        self._desk = CertificateDesk(authority, endpoint, signer, session.id, reissue, self._revoke, rotation)
        self._desk.learn()  # without the list it would let in all revoked nodes, so no master starts

    def end_on_signals(self) -> None:
        """Let SIGINT and SIGTERM end `run`.  From then on the sockets are removed in any case."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.end)

    def go_on(self) -> None:
        """Go on with the session of a master that has crashed: call this before any node can come."""
        if self._session.found:
            nodes = restore_nodes(self.registry, self._book.keeper.nodes, self._session.former_leases_end_s)
            lives = [self._service.go_on(interrupted) for interrupted in self._book.interrupted]
            self._book.interrupted = ()
            log.info("going on after a crash of the master: %d nodes and %d jobs are expected", len(nodes), len(lives))
            self._miss(Place(()), self._own_name, nodes, CRASHED)
            self._service.ways.expect(lives, self.registry, self._session.former_leases_end_s)

    def status(self) -> str:
        """In a clause, for a person."""
        return f"nodes: {len(self.tree)}, jobs: {len(self._service.running())}"

    async def run(self) -> None:
        self.heartbeats.start()
        desk = asyncio.create_task(self._desk.run())
        await asyncio.wait({desk, self.stopped}, return_when=asyncio.FIRST_COMPLETED)
        self.clients.close()
        await self._await_return()
        self.heartbeats.stop()
        if desk.done():
            desk.result()  # a bug, which ends the master
        desk.cancel()
        await self.end_tree()

    async def end_tree(self) -> None:
        """End the session: tell all nodes, and keep what is known of the jobs."""
        log.info("shutting down %d nodes", len(self.tree))
        self._session.end()
        order = self._signer.sign(Context.END, TreeEnds(self._session.id))
        await self.children.close(messages.Shutdown("the master has ended", order))
        self._spools.finish()
        self._service.close()
        self._book.close()

    async def _await_return(self) -> None:
        """Wait for nodes that change their parents just now: they would look for this master for ever."""
        if away := self.registry.on_the_move(boottime_s()):
            log.info("waiting %.0f s at most for %s", RETURN_S, fold(node.place for node in away))
        until_s = boottime_s() + RETURN_S
        while self.registry.on_the_move(boottime_s()) and (left_s := until_s - boottime_s()) > 0:
            self._returned.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._returned.wait()

    def sign_job(self, job: JobRecord) -> SignedJob:
        ticket = Ticket(
            session=self._session.id, sequence=self._session.number(), job=job.number,
            start_by_ms=start_by_ms(self._session.clock_ms(), job.request), caller=job.caller, request=job.request,
        )  # fmt: skip
        signer = JobSigner(self._signer, self._session.id, job.number)
        return SignedJob(self._signer.sign(Context.TICKET, ticket), signer)

    def sign_again_for(self, job: JobRecord, ticket: Signed) -> SignedJob:
        signer = JobSigner(self._signer, self._session.id, job.number, self._session.run - 1)
        return SignedJob(self._signer.sign_anew(Context.TICKET, ticket), signer)

    def kept_numbers(self) -> set[int]:
        return self.registry.awaited(self.place, boottime_s())

    def sign_turn(self, job: JobRecord, ranks: Iterable[int]) -> Signed:
        by_ms = start_by_ms(self._session.clock_ms(), job.request)
        nodes = fold(job.places[rank] for rank in ranks)
        turn = Turn(self._session.id, self._session.number(), job.number, nodes, by_ms)
        return self._signer.sign(Context.TURN, turn)

    def look_at_keys(self) -> None:
        self._node_keys.look()

    def sign_again(self) -> None:
        for live in self._service.running():
            live.sign_again(self._signer)

    # `relay.hub.Hub`

    @property
    def place(self) -> Place:
        return Place(())

    @property
    def session(self) -> bytes:
        return self._session.id

    def objection(self, change: Arrived) -> str:
        if why := self._objection(change):
            self.faults.add(Place(change.route), change.node.name, why, "it was not taken in", time.time())
        return why

    def _objection(self, change: Arrived) -> str:
        """Is the node where the locale places it, or below a node that was above it before?"""
        name, route = change.node.name, change.route
        if why := self._node_keys.objection(change.node) or self._revoked(self._node_keys.proved(change.node)):
            return why
        if why := self.registry.objection(route, change.node):
            return why
        if self.registry.by_nonce(change.node.nonce) is not None or len(route) == 1:
            return ""
        above = self.tree[Route(route[:-1])].name
        if name in (self._own_name, above):
            return ""
        if why := self.belonging.misplaced(name, route[-1], above, parent_is_master=False):
            return why
        other = self.tree.route_named(name)
        node = None if other is None or other == route else self.registry.reached_by(other)
        return "" if node is None else f"{node} is here already: a certificate has one place"

    def tell(self, change: Arrived | Left) -> None:
        if isinstance(change, Left):
            self._lost_way(change)
            return
        known = self.registry.by_nonce(change.node.nonce)
        former_route = None if known is None else known.route
        # By our clock: that of a rack master may be wrong.
        since_s = time.time() if known is None or known.route is None else known.info.since_s
        info = msgspec.structs.replace(self._node_keys.proved(change.node), since_s=since_s)
        node, displaced = self.registry.arrive(change.route, info)
        if change.node.proof is not None:
            node.run_key = change.node.proof.key
        if former_route not in (None, change.route):
            self.tree.forget(former_route)
        if displaced is not None:
            said = "%s has the place of %s, which is another run of a slave"
            self.tree_log.say(logging.WARNING, info.name, said, node, displaced)
            self._book.keeper.note_node(displaced.nonce, None)
            self._service.ways.unreached(displaced, "another slave has its place")
            self.faults.end(displaced, "another run of its slave has its place", time.time())
        self.absences.end(node.place)
        self._book.keeper.note_node(node.nonce, packed_node(KeptNode(node.place, node.info, node.run_key)))
        self._grant(node)
        if known is None:
            self.tree_log.say(logging.INFO, info.name, "arrived: %s", node)
            self._service.ways.arrived(node)
        else:
            self._regained.note(node, self._by_way_of(node))
            self._service.ways.reached(node)
            self.faults.end(node, f"reached again {self._by_way_of(node)}", time.time())
            self._returned.set()

    def _by_way_of(self, node: Node) -> str:
        above = None if node.route is None else self.registry.reached_by(Route(node.route[:-1]))
        return "from here" if above is None else f"by way of {above}"

    def grant_again(self, node: Node) -> None:
        if node.route is not None:
            self._grant(node)

    def _grant(self, node: Node) -> None:
        """Tell a node its place: without a grant it accepts no ticket."""
        assert node.route is not None
        self._lend(node)
        node.granted_s = boottime_s()
        session = self._session
        # A relay drops a job at once that the grant does not name, and then its release does not reach the nodes below.
        jobs = (*(live.job.number for live in self._service.running()), *self._service.unreleased)
        grant = Grant(
            session.id, node.nonce, node.place, session.number(), session.clock_ms(), self._lease_s,
            self.registry.ancestors(node), jobs, time.time(), session.ended,
        )  # fmt: skip
        self.pass_down(messages.Granted(node.route, self._signer.sign(Context.GRANT, grant)))

    def _lend(self, node: Node) -> None:
        """What runs on the node may run until then, if it hears nothing more."""
        node.lease_ends_s = boottime_s() + self._lease_s
        self._session.lends(node.lease_ends_s)

    def _lost_way(self, change: Left) -> None:
        """Nodes cannot be reached any more by their present way."""
        lost = self.registry.reached_through(change.route)
        if not lost:
            return
        head = lost[0]
        if change.ended and head.route == change.route:
            self.tree_log.say(logging.INFO, head.info.name, "left: %s: %s", head, change.reason)
            self._forget(head, change.reason)
            del lost[0]
        if lost:
            said = "cannot reach %s: %s"
            self.tree_log.say(logging.WARNING, head.info.name, said, together(head, lost), change.reason)
        for node in lost:
            self.registry.lose(node, boottime_s())
        self._miss(head.place, head.info.name, lost, change.reason)
        for host in {node.info.name for node in lost}:
            for node in self.registry.too_many_gone(host, boottime_s()):
                self.registry.forget(node)
                self._book.keeper.note_node(node.nonce, None)

    def _miss(self, place: Place, host: str, lost: Sequence[Node], reason: str) -> None:
        """No way leads to these nodes, which are at this place or below it."""
        if lost:
            self.faults.lose(place, host, lost, reason, time.time())
        for node in lost:
            self.absences.note(node, time.time(), reason)
            self._service.ways.unreached(node, reason)

    def _forget(self, node: Node, reason: str) -> None:
        """A node has ended, or is no node of this tree any more: nothing runs there, and it is not missed."""
        self.registry.forget(node)
        self._book.keeper.note_node(node.nonce, None)
        self.absences.end(node.place)
        self._service.ways.lost(node, reason)

    def _revoke(self, signed: Signed) -> None:
        """A new list of revoked certificates: a node that it names is no node of this tree any more, wherever it
        hangs."""
        if not self.revoke(signed):
            return
        for node in self.registry.known():
            if why := self._revoked(node.info):
                log.warning("revoked: %s", node)
                self.faults.add(node.place, node.info.name, why, "it was taken out of the tree", time.time())
                self._forget(node, why)

    def _revoked(self, info: NodeInfo) -> str:
        """Why the certificate of a node is revoked; "" if it is not.  The node above has said which certificate it
        is."""
        vetting = self.endpoint.vetting
        if vetting.number == 0 or not vetting.revoked(info.name, info.serial, 0):
            return ""
        return vetting.revoked(info.name, info.serial, self._desk.issued_s(info.serial))

    def ask_master(self, question: messages.AskLease | AskCertificate) -> None:
        node = self.registry.reached_by(question.route)
        if node is None:
            return
        if isinstance(question, AskCertificate):
            self._desk.ask(question, node.info.name, self.pass_down)
            return
        awaited = tuple(live.job.number for live in self._service.running_at(node.place) if live.awaits(node.place))
        self._lend(node)
        home_is_there = self.registry.home_is_there(node)
        lease = Lease(
            self._session.id, question.nonce, self._session.last_number, self._session.clock_ms(),
            self._service.ways.jobs_for(node), home_is_there, time.time(), self.endpoint.vetting.number, awaited,
        )  # fmt: skip
        self.pass_down(messages.Leased(question.route, self._signer.sign(Context.LEASE, lease)))
        self._service.ways.asked(node)

    async def keep_bundle(self, bundle: bytes) -> Root:
        return await self.fetcher.root(bundle, self.own)

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        self._offers.ask(bundle, digests)

    def counted(self) -> MasterCounts:
        service, clients, nodes = self._service, self.clients.traffic, self.children.traffic
        return MasterCounts(
            service.begun, service.refused, service.with_bundle, self.fetcher.transfers, self.fetcher.transfer_s,
            self.faults.count, clients.received, clients.sent, nodes.received, nodes.sent,
        )  # fmt: skip

    def pass_stacks(self, relayed: RelayedJob, shown: StacksShown) -> None:
        self._service.others.inquiries.take(relayed, shown)

    def child_load(self, message: Load) -> None:
        self._inquiries.add_loads(message)
