"""The work that the master and every slave share: they keep children, know the tree below them, and relay jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, assert_never

from msgspec.structs import replace

from gproc.errors import PeerError, TrustError
from gproc.link.heartbeats import Heartbeats
from gproc.nodespec import LEVELS_MAX, format_path
from gproc.relay.belonging import NODES_BELOW_MAX, Belonging
from gproc.relay.children import Child, Children, JoinRefused
from gproc.relay.memory import Memory
from gproc.relay.relayed_job import Downstream, RelayedJob
from gproc.spread.fetching import BundleFetcher
from gproc.spread.monitor import BroadcastMonitor
from gproc.spread.sending import Compressed
from gproc.spread.trees import MIN_CHILDREN
from gproc.store.partial import Owner
from gproc.tree import Tree, below
from gproc.wire import messages
from gproc.wire.directions import ChildToParent
from gproc.wire.messages import Arrived, Branch, Join, Left, Peer, Route, Run

if TYPE_CHECKING:
    import ssl

    from gproc.link.connection import Link
    from gproc.store.store import Store

log = logging.getLogger("gproc")

SAME_JOB_S: Final = 3.0
"""Seconds for which a peer waits until this node has the ticket that the peer shows: the tree may be busy."""


class Hub(ABC):
    """A node that can have children.  `tree` holds the nodes below this one, by their route from here."""

    def __init__(self, store: Store, context: ssl.SSLContext, belonging: Belonging, link_timeout_s: float) -> None:
        self.belonging = belonging
        self.tree = Tree()
        self.relayed_jobs: dict[int, RelayedJob] = {}
        self._monitors: dict[int, BroadcastMonitor] = {}
        self._next_job: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.fetcher: BundleFetcher = BundleFetcher(store, self)
        self.compressed = Compressed()
        self.children = Children(self, context, link_timeout_s)
        self._memory = Memory()
        self.own = Owner(os.geteuid(), os.getegid())
        self.heartbeats = Heartbeats(self.links, lambda: bool(self.relayed_jobs), link_timeout_s)
        self.stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def links(self) -> list[Link]:
        """The control connections of this node."""
        return [child.link for child in self.children]

    # What the master and a slave do differently

    @abstractmethod
    def tell(self, change: Arrived | Left) -> None:
        """The tree below has changed; `tree` shows it already."""

    @abstractmethod
    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        """Ask upstream for chunks of a bundle: this is the `Source` of `fetcher`.

        Raises: StoreError if no connection leads upstream.
        """

    @abstractmethod
    def child_load(self, message: messages.Load) -> None:
        """Handle a child's answer to a poll.  The routes in it begin here."""

    @abstractmethod
    def ask_lease(self, question: messages.AskLease) -> None:
        """Handle a question for a lease.  The route in it begins here."""

    # What children do and send: `relay.children.ChildOwner`

    def admit(self, join: Join) -> int:
        id = self._number_for(join)
        present = [(child.id, child.node.name) for child in self.children]
        if why := self.belonging.objection(join.node.name, id, present):
            # Not final: a certificate that was elsewhere may be free in a moment, and a locale can be corrected.
            raise JoinRefused(why, final=False)
        return id

    def _number_for(self, join: Join) -> int:
        """Raises: JoinRefused if another child has the number that the slave insists on."""
        if join.id is None:
            return self.belonging.number_of(join.node.name) or self.children.free_id()
        holder = self.children.by_id.get(join.id)
        if holder is None:
            return join.id
        if not join.explicit_id:
            return self.children.free_id()
        # The slave may have been restarted before this node noticed the end of its former connection.  So the refusal
        # is not final: the slave asks again.
        raise JoinRefused(f"id {join.id} is taken by {holder.node.name} at {holder.node.address}", final=False)

    def child_arrived(self, child: Child) -> None:
        log.info("node %d joined: %s at %s", child.id, child.node.name, child.node.address)
        route = Route((child.id,))
        self.tree.arrive(route, child.node)
        self.tell(Arrived(route, child.node))

    def child_left(self, child: Child, reason: str) -> None:
        self.children.remove(child)
        log.info("node %d left: %s at %s: %s", child.id, child.node.name, child.node.address, reason)
        for relayed in list(self.relayed_jobs.values()):
            relayed.left(child, reason)
        for monitor in self._monitors.values():
            monitor.left(child)
        route = Route((child.id,))
        if self.tree.leave(route):
            self.tell(Left(route, reason))

    def child_said(self, child: Child, message: ChildToParent) -> None:
        match message:
            case messages.Finished(job, rank, outcome):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.finished(child, rank, outcome)
            case messages.StageProgress(job, rank, received_bytes, complete):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.stage_progress(child, rank, received_bytes, complete)
            case messages.StripeProgress(job, stripes):
                if (monitor := self._monitors.get(job)) is not None:
                    monitor.report(child, stripes)
            case messages.Credit(job, _, size):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.credit_from_downstream(child, size)
            case messages.Arrived(route, node):
                self._arrived(child, Arrived(below(child.id, route), node))
            case messages.Left(route, reason):
                if self.tree.leave(below(child.id, route)):
                    self.tell(Left(below(child.id, route), reason))
            case messages.Load(serial, loads):
                self.child_load(messages.Load(serial, tuple((below(child.id, route), load) for route, load in loads)))
            case messages.AskLease(route, nonce):
                self.ask_lease(messages.AskLease(below(child.id, route), nonce))
            case messages.Want():
                raise PeerError("Want on a control connection")
            case messages.Ping():
                pass
            case _:
                assert_never(message)

    def _arrived(self, child: Child, change: Arrived) -> None:
        """A node is there, far below.  Raises: PeerError if that is beyond belief."""
        if change.route not in self.tree:
            child.nodes_below += 1
        if child.nodes_below > NODES_BELOW_MAX or len(change.route) > LEVELS_MAX:
            raise PeerError(f"it announced more than {NODES_BELOW_MAX} nodes, or deeper than {LEVELS_MAX} levels")
        if why := self.objection(change):
            log.warning("not taken in: %s (%s): %s", format_path(change.route), change.node.name, why)
            return
        self.tree.arrive(change.route, change.node)
        self.tell(change)

    def objection(self, change: Arrived) -> str:
        """Why a node that is announced far below cannot be there; "" if it can.  Only the master judges this."""
        return ""

    def child_output(self, child: Child, job: int, rank: int, stream: int, data: memoryview) -> None:
        relayed = self.relayed_jobs.get(job)
        if relayed is not None:
            relayed.output(child, rank, stream, data)

    def may_want(self, child: Child, bundle: bytes) -> bool:
        return any(relayed.gives(bundle, child) for relayed in self.relayed_jobs.values())

    async def may_serve(self, ticket: messages.Signed) -> bytes:
        # A peer's connection can arrive before the parent's message that starts the same job here.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAME_JOB_S):
                while True:
                    for relayed in self.relayed_jobs.values():
                        if relayed.ticket == ticket:
                            bundle = relayed.request.bundle
                            return b"" if bundle is None else bundle.digest
                    await asyncio.shield(self._next_job)
        raise TrustError("it shows a ticket of a job that this node does not have")

    # What goes down

    def pass_on(self, relayed: RelayedJob, run: Run, own: dict[Downstream, Branch]) -> None:
        """Start a job: its `own` parts on this node, and the parts of the children that the branch of `run` names."""
        here, absent = self._parts(run.branch.children)
        sources_by_child: dict[Downstream, tuple[Peer | None, ...]] = {}
        bundle = relayed.request.bundle
        if bundle is not None and bundle.is_broadcast and len(here) >= MIN_CHILDREN:
            monitor = BroadcastMonitor(run.job, list(here), lambda: self.fetcher.missing_bytes(bundle.digest))
            self._monitors[run.job] = monitor
            for child in here:
                sources_by_child[child] = monitor.sources_of(child)
        self.relayed_jobs[run.job] = relayed
        parts = dict(own)
        for child, branch in here.items():
            parts[child] = branch
        self.heartbeats.quicken()
        relayed.start(run, parts, absent, sources_by_child)
        self._next_job.set_result(None)
        self._next_job = asyncio.get_running_loop().create_future()

    def _parts(self, subtree: dict[int, Branch]) -> tuple[dict[Child, Branch], list[Branch]]:
        """A job's branches by child, and the branches for children that are not connected."""
        here: dict[Child, Branch] = {}
        absent = []
        for id, branch in subtree.items():
            child = self.children.by_id.get(id)
            if child is not None and child.present:
                here[child] = branch
            else:
                absent.append(branch)
        return here, absent

    def pass_down(self, message: messages.Granted | messages.Leased) -> None:
        """Send this to the node at the end of its route, which is not empty."""
        child = self.children.by_id.get(message.route[0])
        if child is not None:
            child.link.send(replace(message, route=Route(message.route[1:])))

    def poll(self, serial: int) -> None:
        for child in self.children:
            child.link.send(messages.Poll(serial))

    def release(self, job: int) -> None:
        relayed = self.relayed_jobs.pop(job, None)
        if relayed is not None:
            relayed.release()
            self._memory.ended(len(relayed.ticket.payload))
        monitor = self._monitors.pop(job, None)
        if monitor is not None:
            monitor.stop()

    def end(self) -> None:
        """Ask `run()` to finish."""
        if not self.stopped.done():
            self.stopped.set_result(None)
