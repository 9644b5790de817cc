"""What the master does for clients: it starts jobs, keeps them, and describes the tree."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gproc.errors import EXIT_GPROC, EXIT_USAGE, GprocError, LinkLost, SpecError
from gproc.link.refusals import Refusals
from gproc.nodespec import Place, fold
from gproc.records.record import shortened_nodes
from gproc.relay.neighbours import Downstream
from gproc.relay.receipt import RunOfNode
from gproc.relay.relayed_job import RelayedJob
from gproc.relay.rounds import Rounds
from gproc.request.spec import Caller, Request
from gproc.service.absences import Absences
from gproc.service.accounts import cost_bytes
from gproc.service.book import JobBook
from gproc.service.choosing import Chosen, NodesAreDrained, choose, nobody
from gproc.service.continuing import Interrupted, add_ends, fill, job_of, runs_of
from gproc.service.departures import Departures, check_keep
from gproc.service.draining import Draining
from gproc.service.holding import HeldJobs
from gproc.service.job_windows import shape_of
from gproc.service.jobs import JobRecord, JobTable
from gproc.service.listed import ListedJob
from gproc.service.live import LiveJob
from gproc.service.moving import await_moving
from gproc.service.offers import BundleOffers
from gproc.service.others import OtherJobs
from gproc.service.oversight import Oversight
from gproc.service.possession import Possession
from gproc.service.registry import Node, Registry
from gproc.service.running import RunningJobs
from gproc.service.turns import JobTurns
from gproc.service.ways import JobWays, WaySender, branch_of
from gproc.shown import command_text, shown_text
from gproc.tree import number
from gproc.trust.orders import SignedJob
from gproc.wire import frames
from gproc.wire.branch import Branch
from gproc.wire.endings import Release
from gproc.wire.job_messages import JobList, Keep, ListJobs, SubmitKept
from gproc.wire.messages import Accepted, Rejected, Run, Signed, Submit
from gproc.wire.task_messages import SubmitTasks

if TYPE_CHECKING:
    from gproc.policy.warden import Warden
    from gproc.records.spooling import JobSpool, Spools
    from gproc.service.clients import Client
    from gproc.store.root import Root

log = logging.getLogger("gproc")

AnySubmit = Submit | SubmitKept | SubmitTasks


class _Asked(NamedTuple):
    """A request for a job, with the nodes that it is for.  cost: bytes of the master's memory."""

    client: Client
    caller: Caller
    submit: AnySubmit
    chosen: Chosen
    cost: int
    keep: Keep


class TreeServices(WaySender, Protocol):
    """What the service needs of the master."""

    registry: Registry
    absences: Absences
    draining: Draining

    def sign_job(self, job: JobRecord) -> SignedJob: ...

    def sign_again_for(self, job: JobRecord, ticket: Signed) -> SignedJob:
        """For a job of a master that has crashed.  ticket: the ticket of that master."""

    def pass_on(self, relayed: RelayedJob, run: Run, own: dict[Downstream, Branch]) -> None: ...

    def release(self, word: Release) -> None: ...

    async def keep_bundle(self, bundle: bytes) -> Root:
        """Fetch all of a bundle, so that no client need be there, and hold it for the caller.  Raises: StoreError."""


class JobService:
    """The jobs of one master and the clients that are attached to them."""

    def __init__(
        self, master: TreeServices, offers: BundleOffers, warden: Warden, book: JobBook, spools: Spools
    ) -> None:
        self._book = book
        self._warden = warden
        self._master = master
        self._offers = offers
        self._possession = Possession(frozenset({0, os.geteuid()}))
        self._refusals = Refusals()
        self._taking: set[asyncio.Task[None]] = set()
        """Jobs that wait for a turn, or whose users are showing their bundles."""
        self.begun = self.with_bundle = self.refused = 0
        """Jobs that began, those of them with something to send, and requests for others."""
        self._rounds = Rounds()
        self._table = JobTable(book.keeper.number)
        self._live = RunningJobs()
        self._turns = JobTurns(master, book)
        self.ways = self._turns.ways = JobWays(master, self._live, self._turns.have_room)
        self.unreleased: set[int] = set()
        """Jobs that are over, and whose nodes have not been told."""
        self._held = HeldJobs(book.keeper, self._release)
        self._settling: dict[int, asyncio.Task[None]] = {}
        """Jobs that have ended, until that is on the disk."""
        self._spools = spools
        self._departures = Departures(master, book, spools)
        self.oversight = Oversight(warden)
        self.others = OtherJobs(book, spools, self._departures, self._live, self.oversight, self.settled)

    def submit(self, client: Client, caller: Caller, submit: AnySubmit) -> None:
        """Start a job when its user has a turn, or tell the client why it was refused."""
        cost = cost_bytes(submit.request, 0)
        try:
            client.account.hold(cost)
        except GprocError as error:
            self._refuse(client, caller, submit, shown_text(shortened_nodes(submit.request.nodes)), error)
            return
        task = asyncio.create_task(self._take(client, caller, submit, cost))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, client: Client, caller: Caller, submit: AnySubmit, cost: int) -> None:
        """cost: what is held of the user's account already."""
        account, uid, asked = client.account, caller.uid, None
        try:
            await self._rounds.turn(uid, heavy=submit.request.is_heavy)
            await await_moving(self._master.absences, submit.request)
            asked = self._choose(client, caller, submit)
            if asked is None:
                await client.link.drain()  # an answer counts for the user until it was read
                return
            account.hold(asked.cost - cost)
            cost = asked.cost
            self._allowed(asked)
            if self._warden.asks_accounts or not self._has_shown(asked):
                await self._show(asked)
                asked = asked._replace(cost=self._cost(caller, submit.request, asked.chosen.present))
                account.hold(asked.cost - cost)
                cost = asked.cost
                await self._rounds.turn(uid, heavy=submit.request.is_heavy)
            if client.link.lost:
                raise LinkLost("its client is gone")
            self._begin(asked)
            cost = 0  # the rest is freed when it ends
        except GprocError as error:
            assert asked is not None
            self._refuse(client, caller, submit, fold(asked.chosen.present), error)
            await client.link.drain()
        finally:
            account.free(cost)

    def _choose(self, client: Client, caller: Caller, submit: AnySubmit) -> _Asked | None:
        """The nodes of a request; None if there are none, and then the client is told."""
        request = submit.request
        try:
            chosen = choose(self._master.registry, self._master.absences, self._master.draining, request)
        except (SpecError, NodesAreDrained) as error:
            self._reject(client, submit, error.exit_status, str(error))
            return None
        nodes = chosen.present
        if not nodes:
            self._reject(client, submit, EXIT_GPROC, nobody(self._master.registry, request, chosen))
            return None
        if request.require_all and chosen.lacking:
            self._reject(client, submit, EXIT_GPROC, f"nothing runs, because not all nodes are there: {chosen.lacking}")
            return None
        if request.terminal is not None and len(nodes) > 1:
            reason = f"--tty is for one node, and {request.nodes} are {len(nodes)}: {fold(nodes)}"
            self._reject(client, submit, EXIT_USAGE, reason)
            return None
        keep = submit.keep if isinstance(submit, SubmitKept | SubmitTasks) else Keep()
        return _Asked(client, caller, submit, chosen, self._cost(caller, request, nodes), keep)

    def _has_shown(self, asked: _Asked) -> bool:
        """Whether the content of a job's bundle is no secret to its user."""
        bundle = asked.submit.request.bundle
        return bundle is None or self._possession.is_shown(asked.caller.uid, bundle.digest)

    async def _show(self, asked: _Asked) -> None:
        """Have the user's account checked, and the user show the bundle.  Raises: GprocError."""
        bundle = asked.submit.request.bundle
        await self._warden.check_account(asked.caller)
        async with asked.client.account.showings:
            if bundle is not None and not self._has_shown(asked):
                await self._possession.show(asked.client.link, asked.caller.uid, bundle.digest)

    def _cost(self, caller: Caller, request: Request, chosen: Sequence[Place]) -> int:
        bundle = request.bundle
        manifest_bytes = 0 if bundle is None else self._possession.manifest_bytes(caller.uid, bundle.digest)
        return cost_bytes(request, len(chosen), manifest_bytes)

    def _allowed(self, asked: _Asked) -> Request:
        """The request as it may run.  Raises: GprocError."""
        check_keep(asked.keep, asked.caller, self._table, self._book)
        running = self._table.count_of(asked.caller.uid)
        return self._warden.allow(asked.caller, asked.submit.request, asked.chosen.present, running)

    def _refuse(self, client: Client, caller: Caller, submit: AnySubmit, nodes: str, error: GprocError) -> None:
        uid = caller.uid
        if self._refusals.may_log(str(uid), time.monotonic()):
            log.info("a job of uid %d on %s is refused: %s", uid, nodes, error)
            self._warden.refused(0, caller, submit.request, nodes, str(error))
        self._reject(client, submit, EXIT_GPROC, str(error))

    def _begin(self, asked: _Asked) -> None:
        """Raises: GprocError if the policy does not allow it any more."""
        client, caller, request, nodes = asked.client, asked.caller, self._allowed(asked), fold(asked.chosen.present)
        window = client.account.hold_window(shape_of(request, asked.chosen.present, is_detached=asked.keep.detach))
        asked = asked._replace(cost=asked.cost + window.held_bytes)
        ranks = number(asked.chosen.present)
        job = self._table.add(caller, request, tuple(ranks), time.time())
        job.window_bytes = window.window_bytes
        job.nodes, job.missing, job.name = shortened_nodes(nodes), asked.chosen.missing, asked.keep.name
        if asked.keep.hosts:
            job.nodes = shown_text(asked.keep.hosts)
        on = [self._master.registry.at(place) for place in ranks]
        runs = [None if node is None else RunOfNode(node.nonce, node.run_key) for node in on]
        live = self._live_job(asked, job, runs)
        self.begun += 1
        self.with_bundle += request.bundle is not None
        self._live[job.number] = live
        client.jobs[job.number] = live
        self._book.note(live)
        self._warden.began(job.number, caller, request, nodes)
        log.info("job %d: uid %d on %s: %s", job.number, caller.uid, nodes, command_text(request.argv))
        if (bundle := request.bundle) is not None:
            self._offers.add(bundle.digest, client.link, caller.uid)
            log.debug("job %d: bundle %s, %d bytes", job.number, bundle.digest.hex()[:16], bundle.size_bytes)
        serial, (_, missing, absent, drained) = asked.submit.serial, asked.chosen
        accepted = Accepted(serial, job.number, job.places, missing, job.window_bytes, absent, drained)
        client.link.send(accepted)
        self._departures.began(client, live, asked.keep)
        live.start_timer()
        self._start(live, on)

    def _live_job(self, asked: _Asked, job: JobRecord, runs: Sequence[RunOfNode | None]) -> LiveJob:
        client, signed, submit = asked.client, self._master.sign_job(job), asked.submit

        def ended(live: LiveJob) -> None:
            self._ended(asked, live)

        if isinstance(submit, SubmitTasks):
            return ListedJob(
                job, runs, signed, client.link, ended, self._book.note, submit.listing, self._book.task_list(),
                client.account,
            )  # fmt: skip
        return LiveJob(job, runs, signed, client.link, ended, self._turns.have_room, self._book.note)

    def _reject(self, client: Client, submit: AnySubmit, status: int, reason: str) -> None:
        self.refused += 1
        log.debug("a request for nodes %s is not taken: %s", submit.request.nodes, reason)
        client.refuse(Rejected(submit.serial, status, reason))

    def _start(self, live: LiveJob, nodes: Sequence[Node | None]) -> None:
        """nodes: by rank; None: it is not connected any more."""
        there = [node for node in nodes if node is not None]
        if live.job.request.stdin:
            live.fit_input(branch_of(live, there))
        first = there if live.job.window is None else self._turns.next_of(live, live.job.window)
        self._master.pass_on(live.relayed, self.ways.run_of(live, first), {})
        live.lose_those_without_node()

    def running(self) -> list[LiveJob]:
        """The jobs that have not ended."""
        return list(self._live.values())

    def go_on(self, interrupted: Interrupted) -> LiveJob:
        """A job of a master that has crashed: none of its nodes can be reached yet."""
        job = job_of(interrupted)
        self._table.put(job)
        signed = self._master.sign_again_for(job, interrupted.life.ticket)
        runs, has_room = runs_of(interrupted.life), self._turns.have_room
        live = LiveJob(job, runs, signed, None, self._finish, has_room, self._book.note)
        fill(live, interrupted)
        live.go_on(self._spools.open_job(job.number, job.caller.uid, interrupted.end), interrupted.found.sizes)
        add_ends(live, interrupted)
        self._live[job.number] = live
        self._departures.go_on(live)
        self._master.pass_on(live.relayed, self.ways.run_of(live, ()), {})
        if job.request.stdin:
            live.restore_input(self._book.input_log(live), interrupted.input)
        live.start_timer(time.time() - job.started_s)
        if job.over:
            live.close()
        else:
            live.shut_if_too_many_failed()
            live.lose_those_without_node()
        return live

    def _ended(self, asked: _Asked, live: LiveJob) -> None:
        client, bundle = asked.client, live.job.request.bundle
        client.account.free(asked.cost)
        client.jobs.pop(live.job.number, None)
        if bundle is not None and not any(other.job.request.bundle == bundle for other in client.jobs.values()):
            self._offers.unavailable(client.link, bundle.digest, "the job that brought the program has ended")
        self._finish(live)

    def _finish(self, live: LiveJob) -> None:
        job = live.job
        log.info("job %d: done", job.number)
        self._departures.ended(live)
        job.ended_s = time.time()
        kinds = Counter(outcome.kind for outcome in job.outcomes.values())
        status = max(outcome.status for outcome in job.outcomes.values())
        self._warden.ended(job.number, job.caller, fold(job.places), dict(kinds), status)
        if live.spool is None:
            self._forget(live)
            # Not at once: the relayed job that called us has not returned yet.
            asyncio.get_running_loop().call_soon(self._release, live)
        else:
            task = self._settling[job.number] = asyncio.create_task(self._settle(live, live.spool))
            task.add_done_callback(lambda _: self._settling.pop(job.number))

    async def _settle(self, live: LiveJob, spool: JobSpool) -> None:
        """Let nodes forget a job when all that they have said of it is on the disk."""
        await spool.written()
        self._forget(live)
        await self._held.settle(live)

    def _release(self, live: LiveJob) -> None:
        self._master.release(live.release())
        self.unreleased.discard(live.job.number)
        self.ways.released(live, self._master.registry)

    def _forget(self, live: LiveJob) -> None:
        self._table.remove(live.job.number)
        self._live.pop(live.job.number, None)
        self.unreleased.add(live.job.number)
        if live.input_log is not None:
            live.input_log.close()
        self._book.note(live)

    async def settled(self) -> None:
        """Wait until all is on the disk of the jobs that have ended."""
        if self._settling:
            await asyncio.wait(list(self._settling.values()))

    def close(self) -> None:
        """The master ends, and all output that has come is on the disk."""
        for live in list(self._live.values()):
            if live.job.over:
                self._book.note(live)

    def withdraw(self, client: Client) -> None:
        """A client is gone: end its jobs, except those that survive it, and withdraw the bundles that it offered."""
        for live in list(client.jobs.values()):
            self._departures.lost(live)
        gone = "the client that brought the program is gone"
        self._possession.withdraw(client.link, gone)
        self._offers.withdraw(client.link, gone)

    def unavailable(self, client: Client, bundle: bytes, reason: str) -> None:
        self._possession.unavailable(client.link, bundle, reason)
        self._offers.unavailable(client.link, bundle, reason)

    def on_piece(self, client: Client, piece: frames.Piece) -> None:
        if not self._possession.on_piece(client.link, piece):
            self._offers.on_piece(client.link, piece)

    def leave(self, client: Client, number: int) -> None:
        """A client wants to leave its job."""
        if (live := client.jobs.get(number)) is not None:
            self._departures.leave(client, live)

    async def list_jobs(self, question: ListJobs, caller: Caller) -> JobList:
        """Raises: GprocError."""
        await self.settled()
        every = self.oversight.may(caller, "see")
        return await self._book.listed(
            question.serial, caller.uid, list(self._live.values()), every=every, ended=question.ended
        )

    def busy(self) -> Counter[Place]:
        """How many jobs run on each node."""
        return self._table.running_at()

    def payer_of(self, bundle: bytes) -> int | None:
        """The user of a job with this bundle."""
        return next((job.caller.uid for job in self._table if job.request.is_of(bundle)), None)

    def running_at(self, place: Place) -> list[LiveJob]:
        """The jobs with a rank on a node that has not ended."""
        return self._live.at(place)
