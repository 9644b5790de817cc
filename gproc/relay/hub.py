"""The work that the master and every slave share: they keep children, know the tree below them, and relay jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, assert_never

from msgspec.structs import replace

from gproc.addresses import bracketed
from gproc.errors import PeerError, TrustError
from gproc.link.heartbeats import Heartbeats
from gproc.link.refusals import Refusals
from gproc.nodespec import LEVELS_MAX, Place, format_path
from gproc.relay.adoption import NotBelow, adopted_numbers, is_at_home, shown_grant, shown_number
from gproc.relay.belonging import Belonging, JoinRefused, is_full, most_below
from gproc.relay.children import Child, Children
from gproc.relay.memory import Memory
from gproc.relay.neighbours import Downstream, Upstream
from gproc.relay.pace import ChildPace
from gproc.relay.relayed_job import RelayedJob
from gproc.relay.stacks import StackRelay
from gproc.relay.treelog import TreeLog
from gproc.spread.monitor import BroadcastMonitor
from gproc.spread.passing import PassingFetcher
from gproc.spread.sending import Compressed
from gproc.spread.trees import MIN_CHILDREN
from gproc.store.partial import Owner
from gproc.tree import Tree, below, from_here
from gproc.wire import messages
from gproc.wire.branch import Branch
from gproc.wire.credentials import AskCertificate, Certified, NewKeys, OldKeysEnd, Revocations
from gproc.wire.directions import ChildToParent
from gproc.wire.endings import OutputGone, RankEnded, Release
from gproc.wire.loads import Load, Poll
from gproc.wire.merging import AnnounceOutput, BringOutput, SameOutput
from gproc.wire.messages import Arrived, Join, Left, Peer, Route, Run
from gproc.wire.stacks import StacksShown

if TYPE_CHECKING:
    from gproc.link.connection import Link
    from gproc.store.store import Store
    from gproc.trust.endpoint import Endpoint
    from gproc.trust.ticket import Grant

log = logging.getLogger("gproc")

SAME_JOB_S: Final = 3.0
"""Seconds for which a peer waits until this node has the ticket that the peer shows: the tree may be busy."""


class Hub(ABC):
    """A node that can have children.  `tree` holds the nodes below this one, by their route from here."""

    def __init__(self, store: Store, endpoint: Endpoint, belonging: Belonging, link_timeout_s: float) -> None:
        self.belonging = belonging
        self.endpoint = endpoint
        self.tree = Tree()
        self.relayed_jobs: dict[int, RelayedJob] = {}
        self._stacks = StackRelay(self.relayed_jobs, self.pass_stacks)
        self._monitors: dict[int, BroadcastMonitor] = {}
        self._next_job: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.fetcher = PassingFetcher(store, self, self.is_wanted_below)
        self.compressed = Compressed()
        self.children = Children(self, endpoint, link_timeout_s)
        self._adopted_numbers = adopted_numbers()
        self._pace = ChildPace(endpoint.identity.name, lambda: self._level, lambda: self.is_behind())
        self.is_behind: Callable[[], bool] = lambda: False
        """Whether much of what was sent upstream is still here."""
        self.tree_log = TreeLog()
        self._objections = Refusals()
        """The objections to what children announce, by the children's names."""
        self._memory = Memory()
        self.own = Owner(os.geteuid(), os.getegid())
        self.heartbeats = Heartbeats(self.links, lambda: bool(self.relayed_jobs), link_timeout_s)
        self.stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def links(self) -> list[Link]:
        """The control connections of this node."""
        return [child.link for child in self.children]

    # What the master and a slave do differently

    @property
    @abstractmethod
    def place(self) -> Place:
        """The place of this node; () is the master."""

    @property
    @abstractmethod
    def session(self) -> bytes | None:
        """The master's session; None if this node has no place in one yet."""

    @abstractmethod
    def tell(self, change: Arrived | Left) -> None:
        """The tree below has changed; `tree` shows it already."""

    @abstractmethod
    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        """Ask upstream for chunks of a bundle: this is the `Source` of `fetcher`.

        Raises: StoreError if no connection leads upstream.
        """

    @abstractmethod
    def child_load(self, message: Load) -> None:
        """Handle a child's answer to a poll.  The routes in it begin here."""

    @abstractmethod
    def ask_master(self, question: messages.AskLease | AskCertificate) -> None:
        """Handle a node's question for a lease or a certificate.  The route in it begins here."""

    def pass_stacks(self, relayed: RelayedJob, shown: StacksShown) -> None:
        """Pass on where the processes of some ranks below are."""
        relayed.upstream.send(shown)

    def kept_numbers(self) -> Collection[int]:
        """The numbers of children that are away and may come back."""
        return ()

    # What children do and send: `relay.children.ChildOwner`

    def admit(self, join: Join) -> int:
        if not self._pace.may_change(join.node.name):
            raise JoinRefused("it, or nodes below it, have come and gone too often: it has to wait", final=False)
        grant = shown_grant(join, (*self.endpoint.keys.valid, *self.endpoint.keys.retired))
        for child in self.children:
            if (child.node.nonce, child.node.name) == (join.node.nonce, join.node.name):
                child.replace()
        if grant is not None:
            if self.session is None:
                # It may be at home anywhere below, and would take the number of a child that is at home here.
                raise JoinRefused("this node has no place yet", final=False)
            if not self._is_at_home(grant):
                return next(self._adopted_numbers)
        if is_full(self._level, len(self.tree)):
            raise JoinRefused("as many nodes as its parent takes are below this one: use another --parent", final=False)
        id = self._number_for(join)
        present = [(child.id, child.node.name) for child in self.children]
        if why := self.belonging.objection(join.node.name, id, present):
            # Not final: a certificate that is in use elsewhere may be free in a moment, and a locale can be corrected.
            raise JoinRefused(why, final=False)
        return id

    def _is_at_home(self, grant: Grant) -> bool:
        """Raises: JoinRefused if it is neither at home here nor to be adopted."""
        try:
            at_home = is_at_home(grant.place, self.place)
        except NotBelow as error:
            raise JoinRefused(str(error), final=False) from error
        if not at_home and grant.session != self.session:
            raise JoinRefused("its grant is of another session", final=False)
        return at_home

    def _number_for(self, join: Join) -> int:
        """Raises: JoinRefused if another child has the number that the slave insists on."""
        if join.id is None:
            return self.belonging.number_of(join.node.name) or self.children.free_id(self.kept_numbers())
        holder = self.children.by_id.get(join.id)
        if holder is None:
            return join.id
        if not join.explicit_id:
            return self.children.free_id(self.kept_numbers())
        # The slave may have been restarted before this node noticed the end of its former connection.  So the refusal
        # is not final: the slave asks again.
        where = bracketed(holder.node.address)
        raise JoinRefused(f"id {join.id} is taken by {holder.node.name} at {where}", final=False)

    def child_arrived(self, child: Child) -> None:
        where, name = bracketed(child.node.address), child.node.name
        self.tree_log.say(logging.INFO, name, "node %s joined: %s at %s", shown_number(child.id), name, where)
        known = self.endpoint.vetting.signed, self.endpoint.succession, self.endpoint.retirement
        for kind, signed in zip((Revocations, NewKeys, OldKeysEnd), known, strict=True):
            if signed is not None:
                child.link.send(kind(signed))
        self._take_in(child, Arrived(Route((child.id,)), child.node))

    def child_left(self, child: Child, reason: str) -> None:
        self.children.remove(child)
        where, name = bracketed(child.node.address), child.node.name
        self.tree_log.say(logging.INFO, name, "node %s left: %s at %s: %s", shown_number(child.id), name, where, reason)
        route = Route((child.id,))
        # First the nodes above: the master holds back standard input, and only then may others get more of it.
        self._leave(child, Left(route, reason, child.ended))
        for relayed in list(self.relayed_jobs.values()):
            relayed.left(child)
        for monitor in self._monitors.values():
            monitor.left(child)

    def child_said(self, child: Child, message: ChildToParent) -> None:
        match message:
            case RankEnded(job):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.finished(child, message)
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
            case messages.Left(route, reason, ended):
                self._leave(child, Left(below(child.id, route), reason, ended))
            case messages.Goodbye(reason):
                child.say_goodbye(reason)
            case Load(serial, loads, memory):
                if child.polled.may_answer(serial, max(len(loads), len(memory))):
                    self.child_load(from_here(message, child.id))
            case messages.AskLease(route, nonce):
                asker = below(child.id, route)
                if asker in self.tree and self._pace.may_ask(child.node.name, asker):
                    self.ask_master(messages.AskLease(asker, nonce))
            case AskCertificate(route):
                if child.renewals.take_one(time.monotonic()):
                    self.ask_master(replace(message, route=below(child.id, route)))
            case SameOutput(job):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.same_output(child, message)
            case OutputGone(job):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.output_gone(child, message)
            case AnnounceOutput(job):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.announced(child, message)
            case BringOutput(job):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.brought(child, message)
            case StacksShown():
                self._stacks.take(child, message)
            case messages.Want():
                raise PeerError("Want on a control connection")
            case messages.Ping():
                pass
            case _:
                assert_never(message)

    def _arrived(self, child: Child, change: Arrived) -> None:
        """A child announces a node far below.  Raises: PeerError if it announces more than it may."""
        if self._level + len(change.route) > LEVELS_MAX:
            raise PeerError(f"it announced a node deeper than {LEVELS_MAX} levels")
        if change.route not in self.tree:
            if self.tree.count(child.id) > most_below(self._level):
                raise PeerError(f"it announced more than {most_below(self._level)} nodes")
            if is_full(self._level, len(self.tree)):
                largest = max(self.children, key=lambda child: self.tree.count(child.id))
                largest.link.abort("it and others announced more nodes than may be below their parent, and it the most")
        self._take_in(child, change)

    @property
    def _level(self) -> int:
        return len(self.place) or int(self.session is None)  # a slave that has no place yet is no master

    def _take_in(self, child: Child, change: Arrived) -> None:
        self._pace.changed(child)
        if why := self.objection(change):
            what = f"{format_path(change.route)} ({change.node.name}): {why}"
            if (told := self._objections.note(child.node.name, what, time.monotonic())) is not None:
                log.warning("not taken in: %s", told)
            return
        self.tree.arrive(change.route, change.node)
        self.tell(change)

    def _leave(self, child: Child, change: Left) -> None:
        if self.tree.leave(change.route):
            self._pace.changed(child)
            self.tell(change)

    def objection(self, change: Arrived) -> str:
        """Why a node that is announced cannot be there; "" if it can.  Only the master judges this."""
        return ""

    def child_output(self, child: Child, job: int, rank: int, stream: int, offset: int, data: memoryview) -> None:
        relayed = self.relayed_jobs.get(job)
        if relayed is not None:
            relayed.output(child, rank, stream, offset, data)

    def may_want(self, child: Child, bundle: bytes) -> bool:
        return any(relayed.gives(bundle, child) for relayed in self.relayed_jobs.values())

    def is_wanted_below(self, bundle: bytes) -> bool:
        """Whether a job that a child has a part in needs this bundle."""
        return any(self.may_want(child, bundle) for child in self.children)

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
        """Start a job: its `own` parts on this node, and the parts of the children that the branch of `run` names.

        A child that is not here any more gets nothing: the master hears that it has left, and sends its part on
        another way.
        """
        here = self._parts(run.branch.children)
        sources_by_child: dict[Downstream, tuple[Peer | None, ...]] = {}
        bundle = relayed.request.bundle
        if bundle is not None and bundle.is_broadcast and len(here) >= MIN_CHILDREN:
            monitor = BroadcastMonitor(run.job, list(here), lambda: self.fetcher.missing_bytes(bundle.digest))
            self._monitors[run.job] = monitor
            for child in here:
                sources_by_child[child] = monitor.sources_of(child)
        self.relayed_jobs[run.job] = relayed
        parts = dict(own)
        parts.update(here.items())
        self.heartbeats.quicken()
        relayed.start(run, parts, sources_by_child, asyncio.get_running_loop().call_later)
        self._next_job.set_result(None)
        self._next_job = asyncio.get_running_loop().create_future()

    def pass_again(
        self, relayed: RelayedJob, run: Run, own: dict[Downstream, Branch], upstream: Upstream
    ) -> list[Downstream]:
        """A job that is here already, on a new way: for this node itself, or for some below it.

        Returns the children that it was sent to.
        """
        parts = dict(own)
        parts.update(self._parts(run.branch.children).items())
        relayed.resume(run, parts, upstream)
        return list(parts)

    def _parts(self, subtree: dict[int, Branch]) -> dict[Child, Branch]:
        """A job's branches by child, for those that are connected."""
        children = ((self.children.by_id.get(id), branch) for id, branch in subtree.items())
        return {child: branch for child, branch in children if child is not None and child.present}

    def revoke(self, signed: messages.Signed) -> bool:
        """Pass a list of revoked certificates on to all children, and drop the children that it names.

        Returns whether it is a new one.  Raises: TicketRefused if the master did not sign it.
        """
        if not self.endpoint.vetting.learn(signed):
            return False
        for child in self.children:
            child.link.send(Revocations(signed))
        for child in self.children:
            if why := self.endpoint.vetting.objection(child.peer):
                child.dismiss(why)
        return True

    def learn_keys(self, signed: messages.Signed) -> None:
        """Take the cluster's next keys, and pass them on to all.  Raises: TrustError if they are none."""
        if self.endpoint.learn(signed):
            for child in self.children:
                child.link.send(NewKeys(signed))

    def pass_keys_end(self, signed: messages.Signed) -> None:
        for child in self.children:
            child.link.send(OldKeysEnd(signed))

    def pass_down(self, message: messages.Granted | messages.Leased | Certified) -> None:
        """Send this to the node at the end of its route, which is not empty."""
        child = self.children.by_id.get(message.route[0])
        if child is not None:
            child.link.send(replace(message, route=Route(message.route[1:])))

    def poll(self, serial: int) -> None:
        for child in self.children:
            child.polled.ask(serial, self.tree.count(child.id))
            child.link.send(Poll(serial))

    def release(self, word: Release) -> None:
        """A job is over everywhere, by the master's word."""
        if (relayed := self.let_go(word.job)) is not None:
            relayed.release(word)

    def let_go(self, job: int) -> RelayedJob | None:
        """A job is over for this node.  Returns it, if it was here."""
        relayed = self.relayed_jobs.pop(job, None)
        if relayed is not None:
            self._memory.ended(len(relayed.ticket.payload))
        monitor = self._monitors.pop(job, None)
        if monitor is not None:
            monitor.stop()
        return relayed

    def end(self) -> None:
        """Ask `run()` to finish."""
        if not self.stopped.done():
            self.stopped.set_result(None)
