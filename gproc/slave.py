"""A slave: it joins its parent, accepts children, and runs the jobs that the master has signed.

Trust: a slave runs only jobs that the cluster's master has signed.  It dials its parent by name, and takes frames from
that node only.  If the slave is root, it runs a job as the job's caller; if not, it runs only its own user's jobs.

This module decides what each message of the parent does.  The work is done in `gproc.node` and `gproc.relay`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, assert_never

from gproc import __version__
from gproc.errors import GprocError, TrustError
from gproc.launch.launcher import Launcher
from gproc.link.connection import Link, Receiver
from gproc.node.admitted import Admitted, payer_of
from gproc.node.burden import load_of_this_machine
from gproc.node.forsaken import Forsaken
from gproc.node.homeward import Homeward
from gproc.node.leasing import Leasing
from gproc.node.parent_source import ParentSource
from gproc.node.renewing import Renewing
from gproc.node.services import LocalServices
from gproc.node.staging import Staging
from gproc.node.stranded import Stranded
from gproc.node.taking import JobTaker
from gproc.node.unheard import Unheard
from gproc.node.uplink import Uplink
from gproc.node.voice import Voice
from gproc.node.wayfinding import Wayfinding
from gproc.nodespec import Place
from gproc.relay.adoption import shown_number
from gproc.relay.belonging import Belonging
from gproc.relay.hub import Hub
from gproc.relay.membership import PlaceGranted
from gproc.relay.parent import Dialer, new_token
from gproc.relay.relayed_job import RelayedJob
from gproc.root.planner import Planner
from gproc.trust import tls
from gproc.trust.lease import boottime_s
from gproc.trust.orders import StaleOrder
from gproc.trust.ticket import TicketVerifier
from gproc.trust.untaken import SessionEnded
from gproc.wire import frames, messages
from gproc.wire.credentials import AskCertificate, Certified, NewKeys, OldKeysEnd, Revocations
from gproc.wire.directions import PARENT_TO_CHILD, ParentToChild
from gproc.wire.endings import Acknowledged, Release
from gproc.wire.loads import Load, Poll
from gproc.wire.merging import AnswerOutput
from gproc.wire.messages import Arrived, Left, Run

if TYPE_CHECKING:
    from gproc.policy.warden import Warden
    from gproc.store.store import Store
    from gproc.trust.endpoint import Endpoint

log = logging.getLogger("gproc")


class Slave(Hub, Receiver[ParentToChild]):
    """One node.  `run()` returns when the tree is shut down, or when the process gets SIGINT or SIGTERM."""

    direction = PARENT_TO_CHILD

    def __init__(
        self, *, endpoint: Endpoint, dialer: Dialer, store: Store, launcher: Launcher, planner: Planner,
        belonging: Belonging, id: int | None, address: str, link_timeout_s: float, warden: Warden,
        exit_after_s: float | None = None, joined: Callable[[Slave], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """id: None if the parent chooses one.

        address: where others dial this node; "" if it is the one that its parent sees.
        exit_after_s: how long the master may be silent; None: for ever.
        joined: called each time that a parent has let us in.
        """
        super().__init__(store, endpoint, belonging, link_timeout_s)
        self._joined = joined
        self._launcher = launcher
        self._address = address
        self._explicit_id = id is not None
        self._voice = Voice()
        self._verifier = TicketVerifier(endpoint.keys, self._voice.nonce, os.geteuid())
        self._admitted: dict[int, Admitted] = {}
        store.payer_of = partial(payer_of, self._admitted)
        self._homeward = Homeward()
        self._unheard = Unheard()
        self._stranded = Stranded()
        self._forsaken = Forsaken(exit_after_s, self._give_up)
        self._given_up: GprocError | None = None
        self._tree_end: messages.Signed | None = None
        self._uplink = Uplink(dialer, id, owner=self, receiver=self)
        self.status, self.is_behind = self._uplink.status, self._uplink.is_behind
        self._leasing = Leasing(
            self._verifier, launcher, self._uplink, lambda: self._kill_jobs(wholly=False), self._forsaken.waits
        )  # fmt: skip
        self._ways = Wayfinding(self._uplink, self._leasing, self.children)
        self.look_for_way, self.heard_out = self._ways.look, self._uplink.heard_out
        self._certificate = Renewing(endpoint, self._uplink.send, self._uplink.go_home)
        self._parent_source = ParentSource(self.fetcher, self, self._uplink, self.relayed_jobs)
        self._staging = Staging(self.fetcher, self.own, endpoint, link_timeout_s)
        services = LocalServices(self._staging, launcher, planner, lambda: self.place, self._voice)
        self._taker = JobTaker(self._verifier, self._voice, warden, services, self._uplink)

    async def run(self) -> None:
        """Raises: GprocError if the parent refuses us for good, or the master was not heard for too long."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.end)
        self._launcher.attach(loop)
        self.heartbeats.start()
        self._forsaken.waits()
        joining = asyncio.create_task(self._uplink.stay_joined())
        await asyncio.wait({joining, self.stopped}, return_when=asyncio.FIRST_COMPLETED)
        joining.cancel()
        self.heartbeats.stop()
        self._kill_jobs()
        self._launcher.close()
        self._uplink.send(messages.Goodbye("it was ended"))
        self._uplink.close()
        self._certificate.close()
        self._leasing.stop()
        self._ways.close()
        self._forsaken.stop()
        await self.children.close(messages.Shutdown("the node above has ended", self._tree_end))
        if joining.done() and not joining.cancelled():
            joining.result()
        if self._given_up is not None:
            raise self._given_up

    # `node.uplink.UplinkOwner`

    def join_request(self) -> messages.Join:
        self._verifier.joining()
        node = messages.NodeInfo(
            self.endpoint.identity.name, f"{self._address}:{self.children.port}", self._voice.nonce,
            self._launcher.abilities.reason, time.time(), self._launcher.python_because, self._uplink.where,
            proof=self._voice.proof(self.endpoint.shown), version=__version__,
        )  # fmt: skip
        place = self.place
        id = place[-1] if place else self._uplink.membership.id
        return messages.Join(new_token(), id, self._explicit_id, node, self._verifier.signed_grant)

    def announce_subtree(self) -> None:
        log.info(
            "joined %s as node %s, takes children on port %d",
            self._uplink.where, shown_number(self._uplink.membership.id or 0), self.children.port,
        )  # fmt: skip
        for route, node in self.tree.items():
            self._uplink.send(Arrived(route, node))
        self._joined(self)

    def suspend(self) -> None:
        self.fetcher.on_source_lost(self, "the parent was lost")
        self._forsaken.waits()
        self._stranded.parent_lost()
        for relayed in self.relayed_jobs.values():
            relayed.stop()

    def end(self) -> None:
        """Ask `run()` to finish."""
        self._uplink.leave()
        super().end()

    def _give_up(self, reason: str) -> None:
        self._given_up = GprocError(reason)
        self.end()

    def _kill_jobs(self, *, wholly: bool = True) -> bool:
        """End the programs of this node, and drop all jobs.  Returns whether there were any.

        wholly: also of those with parts below, which find another way.  If not, these keep their links and credit.
        """
        jobs = list(self.relayed_jobs.items())
        for job, relayed in jobs:
            relayed.stop()
            self._admitted[job].end_here()
            if wholly or not any(map(relayed.ranks_of, self.children)):
                self.let_go(job)
        return bool(jobs)

    def let_go(self, job: int) -> RelayedJob | None:
        self._admitted.pop(job, None)
        if (relayed := super().let_go(job)) is not None:
            self._parent_source.let_go(relayed.request)
        return relayed

    # What the parent sends

    def on_message(self, link: Link, message: ParentToChild) -> None:
        if not self._uplink.is_open(link) and not isinstance(message, messages.Shutdown):
            # This parent is lost.  Its Shutdown still counts, but if a job began now, no parent could end it.
            return
        try:
            self._handle(link, message)
        except TrustError as error:
            self._taker.log_refusal(error)

    def _handle(self, link: Link, message: ParentToChild) -> None:
        """Raises: TrustError for what the master did not sign, or not for this node and now."""
        match message:
            case Run():
                self._run(link, message)
            case messages.JobOrder(job, order):
                self._obey(job, order)
            case messages.SetSources():
                self._staging.set_sources(message)
            case messages.Credit(job) | Acknowledged(job) | AnswerOutput(job):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.heard(message)
            case Release():
                self._release(message)
            case messages.Granted(route, grant):
                if route:
                    self.pass_down(message)
                else:
                    self._accept_grant(grant)
            case messages.Leased(route, lease):
                if route:
                    self.pass_down(message)
                else:
                    self._accept_lease(lease)
            case Revocations(signed):
                self._revoke(link, signed)
            case NewKeys(signed):
                self.learn_keys(signed)
            case OldKeysEnd(signed):
                self._end_keys(signed)
            case Certified(route, answer):
                if route:
                    self.pass_down(message)
                else:
                    self._certificate.accept(answer, self.session)
            case Poll(serial):
                link.send(load_of_this_machine(serial))
                self.poll(serial)
            case messages.Unavailable(bundle, _, reason):
                self.fetcher.on_unavailable(self, bundle, reason)
            case messages.Shutdown():
                self._shut_down(link, message)
            case messages.CutOff():
                self._ways.told()
            case messages.Ping():
                return
            case _:
                assert_never(message)

    def on_input(self, link: Link, job: int, block: frames.InputBlock) -> None:
        if not self._uplink.is_open(link):
            return  # messages that a former parent still sends count for no window of this one
        if (relayed := self.relayed_jobs.get(job)) is not None:
            relayed.stdin(block)
        elif block.data:
            link.send(messages.Credit(job, frames.STDIN, len(block.data)))  # it was refused here: nobody else need wait

    def on_piece(self, link: Link, piece: frames.Piece) -> None:
        self.fetcher.on_piece(self, piece)

    def on_lost(self, link: Link, reason: str) -> None:
        self._uplink.lost(link, reason)

    def _accept_grant(self, signed: messages.Signed) -> None:
        at_home = self._uplink.membership.at_home
        try:
            grant = self._verifier.accept_grant(signed, self._uplink.membership.id if at_home else None)
        except SessionEnded as ended:
            log.info("shut down: %s", ended)
            self._tree_end = ended.grant
            self.end()
            return
        self._uplink.granted(PlaceGranted(grant.place), grant.ancestors)
        self.endpoint.vetting.heard(grant.date_s)
        for job, admitted in list(self._admitted.items()):
            # Each session counts from 0, so a number says nothing about a job of another session.
            is_named = job in grant.jobs or admitted.ticket.sequence > grant.sequence
            if admitted.ticket.session != grant.session or not is_named:
                admitted.end_here()  # the nodes below hear it by grants of their own
                self.let_go(job)
        self._ways.arrived()
        self._homeward.arrived(at_home, boottime_s())
        self._forsaken.heard()
        self._leasing.granted(grant)

    def _release(self, word: Release) -> None:
        """Drop a job.  This does not end its programs: an order or the lease does.  Raises: TicketRefused."""
        if (admitted := self._admitted.get(word.job)) is not None:
            admitted.words.orders.check_release(word)
            if not admitted.runs_here:
                self.release(word)

    def _revoke(self, link: Link, signed: messages.Signed) -> None:
        """Obey a list of revoked certificates: of children, of the parent, and of this node itself."""
        if not self.revoke(signed):
            return
        if why := self.endpoint.revoked():
            log.warning("%s; jobs end here", why)
            self._kill_jobs()
            for child in self.children:
                child.dismiss("the certificate of the node above was revoked")
        elif why := self.endpoint.vetting.objection(tls.peer_name(link.extra("ssl_object"))):  # type: ignore[arg-type]
            self._uplink.abandon(why)

    def _end_keys(self, signed: messages.Signed) -> None:
        """The cluster's old keys end.  This node shows a new certificate first, and then the nodes below do."""
        known = self.endpoint.retirement
        if self.endpoint.retires(signed):
            self._certificate.succeed(signed)
        if self.endpoint.retirement is not known:
            self.pass_keys_end(signed)

    def _accept_lease(self, signed: messages.Signed) -> None:
        lease = self._leasing.take(signed)
        if lease is None:
            return
        self._forsaken.heard()
        if why := self._certificate.heard(lease) or self._unheard.heard(lease, self._admitted.values()):
            self._uplink.abandon(why)
        for job, admitted in list(self._admitted.items()):
            if job not in lease.jobs and admitted.ticket.sequence <= lease.sequence and admitted.runs_here:
                log.info("job %d: it has ended for the master, so it ends here", job)
                admitted.end_here()
        for job in self._stranded.heard(lease.jobs, self._admitted, self.relayed_jobs):
            self.let_go(job)
        idle = not self.relayed_jobs and not self._uplink.membership.at_home
        if idle and lease.home_is_there and self._homeward.may_try(boottime_s()):
            self._uplink.go_home()

    def _obey(self, job: int, signed: messages.Signed) -> None:
        """Do what the master orders for a job, here and below."""
        admitted = self._admitted.get(job)
        relayed = self.relayed_jobs.get(job)
        if admitted is None or relayed is None:
            return
        try:
            act = admitted.words.orders.open(signed)
        except StaleOrder:
            act = None  # it comes again for the nodes below that were not reached
        relayed.obey(act, signed)

    def _shut_down(self, link: Link, message: messages.Shutdown) -> None:
        if message.order is None:
            link.abort(message.reason)
            return
        self._verifier.check_end(message.order, from_master=tls.is_master(link.extra("ssl_object")))
        self._tree_end = message.order
        log.info("shut down: %s", message.reason)
        self.end()

    def _run(self, link: Link, run: Run) -> None:
        """Run a job here and below, if its ticket is valid; or go on with it, if it is here already."""
        known = self.relayed_jobs.get(run.job)
        if known is not None and known.ticket.payload == run.ticket.payload:
            admitted = self._admitted[run.job]
            log.debug("job %d: it goes on by way of %s", run.job, self._uplink.where)
            with self._parent_source.news(known.request, link):
                self.pass_again(known, run, self._taker.own_part(link, run, known, admitted), link)
            return
        if (taken := self._taker.take(link, run)) is None:
            return
        here, below = "here" if run.branch.rank >= 0 else "not here", len(run.branch.children)
        log.debug("job %d: uid %d, runs %s and at %d children", run.job, taken.ticket.caller.uid, here, below)
        relayed = RelayedJob(run.job, run.ticket, taken.ticket.request, link)
        self._admitted[run.job] = taken
        own = self._taker.own_part(link, run, relayed, taken)
        if run.sources:
            self._staging.fetch_from_peers(link, taken.ticket, run)
        with self._parent_source.news(relayed.request, link):
            self.pass_on(relayed, run, own)

    # `relay.hub.Hub`

    @property
    def place(self) -> Place:
        return self._uplink.membership.place

    @property
    def session(self) -> bytes | None:
        return self._verifier.session

    def links(self) -> list[Link]:
        return super().links() + [link for link in (self._uplink.control,) if link is not None]

    def tell(self, change: Arrived | Left) -> None:
        self._uplink.send(change)

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        self._parent_source.ask(bundle, digests)

    def child_load(self, message: Load) -> None:
        self._uplink.send(message)

    def ask_master(self, question: messages.AskLease | AskCertificate) -> None:
        self._uplink.send(question)
