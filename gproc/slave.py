"""A slave: joins its parent, takes in children, and runs what the master's tickets say.

Whom it trusts: for work, only the cluster's master, whose signature each ticket carries; for frames, only the
parent whose name it dialled.  It runs a job as the job's caller where it is root, and only its own user's jobs
where it is not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gproc.copy.builtin import task_for
from gproc.errors import EXIT_GPROC, GprocError, LinkLost, PeerError, StoreError, TrustError
from gproc.launch.launcher import Launcher, Process
from gproc.launch.protocol import Start
from gproc.link.connection import Link, Receiver
from gproc.node.program import Ended, Program
from gproc.nodespec import Path, format_path
from gproc.relay.hub import Hub
from gproc.relay.parent import Dialer, new_token
from gproc.relay.relayed_job import Downstream, RelayedJob
from gproc.root.planner import Planner
from gproc.root.view import View
from gproc.spread.monitor import REPORT_S as REMAINING_S
from gproc.spread.peers import PeerSources
from gproc.spread.scheduling import STRIPES
from gproc.spread.trees import MIN_BROADCAST_BYTES
from gproc.store.partial import Owner
from gproc.store.store import Root
from gproc.trust.ticket import Ticket, TicketRefused, TicketVerifier
from gproc.wire import frames, messages
from gproc.wire.messages import Arrived, Branch, Finished, Left, Outcome, Run

if TYPE_CHECKING:
    import ssl

    from gproc.store.store import Store
    from gproc.trust.identity import Identity

log = logging.getLogger("gproc")

RETRY_S: Final = 0.1
LAST_WORD_S: Final = 0.5
"""How long the control connection is still listened to when the bulk connection is lost."""

REPORT_S: Final = 0.5
"""Between two reports of a node on how far its bundle is."""

MAX_RETRY_S: Final = 2.0
"""Between two tries to reach the parent; doubled each time."""


class Slave(Hub, Receiver):
    """One node.  `run()` lasts until the tree is shut down or the process is told to end."""

    def __init__(
        self, *, identity: Identity, contexts: tuple[ssl.SSLContext, ssl.SSLContext], dialer: Dialer, store: Store,
        launcher: Launcher, planner: Planner, id: int | None, bin_root: str, link_timeout_s: float,
    ) -> None:  # fmt: skip
        """contexts: for those who dial us, and for dialling.  id: None where the parent gives one."""
        super().__init__(store, contexts[0], link_timeout_s)
        self._client_context = contexts[1]
        self._link_timeout_s = link_timeout_s
        self._fetching: dict[int, tuple[PeerSources, asyncio.Task[None]]] = {}
        self.path: Path = ()
        self.bin_root = bin_root
        self._identity = identity
        self._dialer = dialer
        self._launcher = launcher
        self._planner = planner
        self._id = id
        self._explicit_id = id is not None
        self._nonce = os.urandom(16)
        self._verifier = TicketVerifier(identity.ticket_public, self._nonce, os.geteuid())
        self._control: Link | None = None
        self._bulk: Link | None = None
        self._cut_off: asyncio.Future[str] | None = None
        self._spawned = 0

    async def run(self) -> None:
        """Raises: NotAdmitted where the parent never takes us."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.end)
        self._launcher.attach(loop)
        self.heartbeats.start()
        joining = asyncio.create_task(self._stay_joined())
        await asyncio.wait({joining, self.stopped}, return_when=asyncio.FIRST_COMPLETED)
        joining.cancel()
        self.heartbeats.stop()
        self._drop_jobs()
        if self._control is not None:
            self._control.close()
        await self.children.close(messages.Shutdown("the node above has ended"))
        self._launcher.close()
        if joining.done() and not joining.cancelled():
            joining.result()

    # Joining

    async def _stay_joined(self) -> None:
        """Join, and join again whenever the parent is lost."""
        pause_s = RETRY_S
        complaint = ""
        while True:
            self._cut_off = asyncio.get_running_loop().create_future()
            try:
                await self._dialer.join(self._join(), self, self._joined)
                pause_s, complaint = RETRY_S, ""
                reason = await self._cut_off
                log.warning("lost the parent at %s: %s; trying to join again", self._dialer.where, reason)
            except (LinkLost, TrustError, PeerError) as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.warning("cannot join: %s; trying again", complaint)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_RETRY_S)

    def _join(self) -> messages.Join:
        node = messages.NodeInfo(
            self._identity.name, f":{self.children.port}", self._nonce, self._launcher.abilities.reason, time.time()
        )
        return messages.Join(new_token(), self._id, self._explicit_id, node)

    def _joined(self, control: Link, bulk: Link, welcome: messages.Welcome) -> None:
        self._control, self._bulk = control, bulk
        self._id = welcome.id
        log.info("joined %s as node %d, takes children on port %d", self._dialer.where, welcome.id, self.children.port)
        for route, node in self.tree.items():
            control.send(Arrived(route, node))

    def links(self) -> list[Link]:
        return super().links() + ([] if self._control is None else [self._control])

    def on_lost(self, link: Link, reason: str) -> None:
        """Without a parent nothing here runs: nobody could see it or stop it."""
        if link not in (self._control, self._bulk):
            return
        control, bulk, self._control, self._bulk = self._control, self._bulk, None, None
        if control is not None and control is not link:
            # Its last word may be on its way: a parent that shuts down closes both.
            asyncio.get_running_loop().call_later(LAST_WORD_S, control.abort, reason)
        if bulk is not None and bulk is not link:
            bulk.abort(reason)
        self.fetcher.on_source_lost(self, f"the parent was lost: {reason}")
        self._drop_jobs()
        if self._cut_off is not None and not self._cut_off.done():
            self._cut_off.set_result(reason)

    def _drop_jobs(self) -> None:
        for job in list(self.relayed_jobs):
            self.relayed_jobs[job].signal(signal.SIGKILL)
            self.release(job)

    # What the parent says

    def on_message(self, link: Link, message: messages.AnyMessage) -> None:
        if link not in (self._control, self._bulk) and not isinstance(message, messages.Shutdown):
            # A parent that was lost: its last word counts, but no job may begin that nobody would end.
            return
        match message:
            case messages.Run():
                self._take(link, message)
            case messages.SignalJob(job, signum):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.signal(signum)
            case messages.Resize(job, terminal_size):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.resize(terminal_size)
            case messages.SetSources(job, sources):
                if job in self._fetching:
                    self._fetching[job][0].change(sources)
            case messages.Credit(job, stream, size):
                if (relayed := self.relayed_jobs.get(job)) is not None:
                    relayed.credit_from_upstream(stream, size)
            case messages.Release(job):
                self.release(job)
            case messages.Granted((), grant):
                self._accept(grant)
            case messages.Granted(route, grant):
                self.send_grant(route, grant)
            case messages.Poll(serial):
                link.send(messages.Load(serial, (((), os.getloadavg()[0]),)))
                self.poll(serial)
            case messages.Unavailable(bundle, _, reason):
                self.fetcher.on_unavailable(self, bundle, reason)
            case messages.Shutdown(reason):
                log.info("shut down: %s", reason)
                self.end()
            case _:
                raise PeerError(f"{type(message).__name__} from a parent")

    def on_stdio(self, link: Link, job: int, rank: int, stream: int, data: memoryview) -> None:
        if stream != frames.STDIN:
            raise PeerError("output from a parent")
        if (relayed := self.relayed_jobs.get(job)) is not None:
            relayed.stdin(bytes(data))

    def on_piece(self, link: Link, piece: frames.Piece) -> None:
        self.fetcher.on_piece(self, piece)

    def _accept(self, signed: messages.Signed) -> None:
        try:
            grant = self._verifier.accept_grant(signed)
        except TicketRefused as error:
            log.warning("refused from %s: %s", self._dialer.where, error)
            return
        if grant.path != self.path:
            log.info("this is node %s", format_path(grant.path))
        self.path = grant.path

    def _take(self, link: Link, run: Run) -> None:
        """Run a job here and below, as far as its ticket holds."""
        try:
            ticket = self._verifier.admit(run.ticket)
            if ticket.sequence != run.job:
                raise TrustError(f"a ticket for job {ticket.sequence} that came as job {run.job}")
        except TrustError as error:
            self._refuse(link, run.job, run.branch.ranks(), error)
            return
        relayed = RelayedJob(run.job, run.ticket, ticket.manifest, link)
        own: dict[Downstream, Branch] = {}
        if run.branch.rank >= 0:
            try:
                self._verifier.check_target(ticket)
                own[Program(self, relayed, ticket)] = Branch(run.branch.rank, {})
            except TrustError as error:
                self._refuse(link, run.job, [run.branch.rank], error)
        if run.sources:
            self._stage(link, ticket, run)
        self.pass_on(relayed, run, own, ticket.bundle_bytes)

    def _stage(self, link: Link, ticket: Ticket, run: Run) -> None:
        """Fetch a large bundle with the help of siblings, whether or not it runs here: others are to be fed by us."""
        siblings = PeerSources(
            self.fetcher, self._identity, self._client_context, run.ticket, run.sources, self._link_timeout_s
        )
        task = asyncio.create_task(self._fetch(link, ticket, siblings))
        self._fetching[run.job] = (siblings, task)
        task.add_done_callback(lambda _: self._fetching.pop(run.job))

    async def _fetch(self, link: Link, ticket: Ticket, siblings: PeerSources) -> None:
        remaining = asyncio.create_task(self._report_stripes(link, ticket, siblings.needed))
        try:
            await self.fetcher.root(ticket.manifest, self._owner(ticket), siblings)
            link.send(messages.StripeProgress(ticket.sequence, (0,) * STRIPES))
        except GprocError as error:
            log.info("job %d: %s", ticket.sequence, error)
        finally:
            remaining.cancel()
            siblings.close()

    async def _report_stripes(self, link: Link, ticket: Ticket, needed: asyncio.Event) -> None:
        """Let the parent see who is slow: `spread.monitor`."""
        await needed.wait()
        while True:
            if missing_bytes := self.fetcher.missing_bytes(ticket.manifest):
                link.send(messages.StripeProgress(ticket.sequence, tuple(missing_bytes)))
            await asyncio.sleep(REMAINING_S)

    def _refuse(self, link: Link, job: int, ranks: list[int], error: GprocError) -> None:
        log.warning("refused from %s: %s", self._dialer.where, error)
        for rank in ranks:
            link.send(Finished(job, rank, Outcome(EXIT_GPROC, failure=f"refused: {error}")))

    # `relay.hub.Hub`

    def tell(self, change: Arrived | Left) -> None:
        if self._control is not None:
            self._control.send(change)

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        if self._bulk is None:
            raise StoreError("there is no parent to ask for the bundle")
        self._bulk.send(messages.Want(bundle, digests))

    def child_load(self, message: messages.Load) -> None:
        if self._control is not None:
            self._control.send(message)

    def _owner(self, ticket: Ticket) -> Owner:
        return Owner(ticket.uid, ticket.gid) if os.geteuid() == 0 else self.own

    # `node.program.NodeServices`

    async def root(self, ticket: Ticket, tell: Callable[[int, bool], None]) -> Root | None:
        if not ticket.manifest:
            return None
        if ticket.bundle_bytes < MIN_BROADCAST_BYTES:
            root = await self.fetcher.root(ticket.manifest, self._owner(ticket))
            await self._planner.prepare(root, ticket)
            return root
        reporting = asyncio.create_task(self._report(ticket.manifest, tell))
        try:
            root = await self.fetcher.root(ticket.manifest, self._owner(ticket))
        finally:
            reporting.cancel()
        tell(root.size_bytes, True)
        await self._planner.prepare(root, ticket)
        return root

    async def _report(self, bundle: bytes, tell: Callable[[int, bool], None]) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            tell(self.fetcher.received_bytes(bundle), False)

    def spawn(
        self, ticket: Ticket, root: Root | None, env: tuple[bytes, ...], handles: tuple[int, int, int], ended: Ended
    ) -> Process:
        self._spawned += 1
        task = task_for(ticket.action, ticket.argv, None if root is None else root.tree, os.fsencode(self.bin_root))
        if task is None:
            view = self._planner.view(root, ticket, self._spawned)
        else:
            # The node's file system as it is, for good: no mount, no binRoot.
            view = View("namespaces" if self._launcher.abilities.view else "plain", (), b"", b"/")
        start = Start(
            job=self._spawned,
            argv=ticket.argv,
            # The last of two is the one that counts: a caller's own GPROC_ROOT is the root of another node.
            env=(*env, b"GPROC_ROOT=" + (view.root or os.fsencode(self.bin_root))),
            view=view,
            uid=ticket.uid,
            gid=ticket.gid,
            groups=ticket.groups,
            umask=ticket.umask,
            limits=ticket.limits,
            terminal=ticket.terminal_size is not None,
            task=task,
        )
        return self._launcher.spawn(start, *handles, on_exit=ended)
