"""The ways to the nodes of running jobs: what happens to a job if a node cannot be reached, or is reached again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from gproc.nodespec import fold, format_path
from gproc.relay.neighbours import Downstream, Upstream
from gproc.relay.relayed_job import RelayedJob
from gproc.service.jobs import JobRecord
from gproc.service.live import LiveJob
from gproc.service.registry import Node, Registry
from gproc.service.running import RunningJobs
from gproc.tree import branches
from gproc.trust.lease import boottime_s
from gproc.trust.ticket import START_WITHIN_S
from gproc.wire.branch import Branch
from gproc.wire.messages import Route, Run, Signed

log = logging.getLogger("gproc")

LEASE_OVER_S: Final = 1.0
"""Seconds until programs are gone that are killed when their lease ends."""

RESTART_S: Final = 10.0
"""Seconds within which a slave that was ended must be started again.  `gproc restart` takes some seconds over ssh."""

FORGOTTEN: Final = "it had left, or another slave has its place, when the master crashed"

TRIES: Final = 4
"""How many times in turn the way to a node may refuse a job before the job is given up there: for about a lease."""

TOGETHER_S: Final = 0.02
"""Seconds between the first node that another way leads to and the sending of jobs: the nodes below it follow at
once."""


class WaySender(Protocol):
    """What this needs of the master."""

    def sign_turn(self, job: JobRecord, ranks: Iterable[int]) -> Signed: ...

    def pass_again(
        self, relayed: RelayedJob, run: Run, own: dict[Downstream, Branch], upstream: Upstream
    ) -> list[Downstream]: ...

    def grant_again(self, node: Node) -> None:
        """Tell a node which jobs there are."""


class JobWays:
    """live: the running jobs, by number.  have_room: called with a job of which more nodes may begin."""

    def __init__(self, master: WaySender, live: RunningJobs, have_room: Callable[[LiveJob], None]) -> None:
        self._master = master
        self._live = live
        self._have_room = have_room
        self._returned: dict[bytes, Node] = {}
        """Nodes that another way leads to, until their jobs are sent on it."""
        self._then: frozenset[int] = frozenset()
        """The jobs that there were when the first of them was reached."""

    def run_of(self, live: LiveJob, nodes: Sequence[Node], *, again: bool = False) -> Run:
        """The job, for some of its nodes, by the routes that lead to them now."""
        branch = branch_of(live, nodes, again=again)
        if again:
            live.received.sent_again.update(branch.ranks())
        else:
            near = [node for node in nodes if node.route is not None and len(node.route) == 1]
            live.received.speak_for_themselves.update(live.rank_on[node.nonce] for node in near)
        turn = None if live.job.window is None else self._master.sign_turn(live.job, branch.ranks())
        job, size, ticket = live.job.number, len(live.job.places), live.relayed.ticket
        window_bytes = live.job.window_bytes
        return Run(job, size, ticket, branch, window_bytes, turn=turn, gone=again, kept_bytes=window_bytes)

    def unreached(self, node: Node, reason: str) -> None:
        """No way leads to a node.  Its programs may run until its lease ends; then they are lost."""
        left_s = max(0.0, node.lease_ends_s - boottime_s()) + LEASE_OVER_S
        for live in self._live.at(node.place):
            if (rank := live.rank_on.get(node.nonce)) is not None:
                live.unreached.add(rank, reason, time.time() + left_s)
        asyncio.get_running_loop().call_later(left_s, self._lease_is_over, node, reason)

    def _lease_is_over(self, node: Node, reason: str) -> None:
        # A timer of an earlier loss of this node may fire just after the end of a lease that was given since then.
        if boottime_s() >= node.lease_ends_s + LEASE_OVER_S / 2:
            for live in self._live.at(node.place):
                rank = live.rank_on.get(node.nonce)
                if rank is not None and (rank in live.unreached or live.job.waits(rank)):
                    live.unreached.given_up.add(rank)
                    live.lose(rank, reason)

    def expect(self, lives: Sequence[LiveJob], registry: Registry, leases_end_s: float) -> None:
        """Jobs of a master that has crashed.  leases_end_s: when all leases that it gave have ended."""
        left_s = max(0.0, leases_end_s - boottime_s()) + LEASE_OVER_S
        for live in lives:
            gone = {nonce: rank for nonce, rank in live.rank_on.items() if registry.by_nonce(nonce) is None}
            for rank in gone.values():
                live.unreached.add(rank, FORGOTTEN, time.time() + left_s)
            asyncio.get_running_loop().call_later(left_s, self._give_up, live, gone)

    def _give_up(self, live: LiveJob, gone: Mapping[bytes, int]) -> None:
        """The ranks of a crashed master's job that cannot go on.  gone: ranks by the nonce of their node's run.

        Another run may have been given the turn of a rank meanwhile.
        """
        for nonce, rank in gone.items():
            if nonce in live.rank_on:
                live.lose(rank, FORGOTTEN)

    def lost(self, node: Node, reason: str) -> None:
        """A node has ended, and nothing runs on it.  If it waits for its turn, its slave may be started again."""
        for live in self._live.at(node.place):
            if (rank := live.rank_on.get(node.nonce)) is None:
                continue
            if live.job.waits(rank):
                asyncio.get_running_loop().call_later(RESTART_S, self._not_restarted, live, node.nonce, reason)
            else:
                live.lose(rank, reason)

    def _not_restarted(self, live: LiveJob, nonce: bytes, reason: str) -> None:
        if (rank := live.rank_on.get(nonce)) is not None and live.job.waits(rank):
            live.lose(rank, reason)

    def arrived(self, node: Node) -> None:
        """A new run of a slave.  If a job waits for its turn on that node, it is this run that will begin."""
        for live in self._live.at(node.place):
            if live.job.window is not None and live.give_rank_to(node):
                self._have_room(live)

    def reached(self, node: Node) -> None:
        """Another way leads to a node: its jobs go on.  The nodes below it follow in a moment, so all are sent
        together."""
        if not self._returned:
            self._then = frozenset(self._live)
            asyncio.get_running_loop().call_later(TOGETHER_S, self._go_on)
        self._returned[node.nonce] = node

    def _go_on(self) -> None:
        returned, self._returned = self._returned, {}
        for live in list(self._live.values()):
            # A node that never had it would begin a program that is called lost already.
            lost, ranks = live.unreached.given_up | live.received.not_there, live.rank_on
            nodes = [node for nonce, node in returned.items() if nonce in ranks and ranks[nonce] not in lost]
            had_turn = [node for node in nodes if not live.job.waits(ranks[node.nonce])]
            if len(had_turn) < len(nodes):
                self._have_room(live)
            noted = () if live.job.window is None else live.job.window.noted
            if begun := [node for node in had_turn if ranks[node.nonce] not in noted]:
                log.info("job %d: goes on at %s", live.job.number, fold(node.place for node in begun))
                self._send_again(live, begun)
            for node in had_turn:
                live.unreached.find(ranks[node.nonce])
        if self._then - self._live.keys():
            # The grants of these nodes name a job that has ended since then, and its release went by another way.
            for node in returned.values():
                self._master.grant_again(node)

    def _send_again(self, live: LiveJob, nodes: Sequence[Node]) -> None:
        reached = self._master.pass_again(live.relayed, self.run_of(live, nodes, again=True), {}, live)
        for downstream in reached:
            for act, order in live.orders:
                downstream.obey(live.job.number, act, order)

    def jobs_for(self, node: Node) -> tuple[int, ...]:
        """The jobs that may run on a node: it ends all others when its next lease does not name them."""
        place = node.place
        should_run = [live for live in self._live.at(place) if live.job.runs_at(place) and not live.job.killed]
        return tuple(
            live.job.number for live in should_run if live.job.rank_at(place) not in live.unreached.given_up
        )

    def asked(self, node: Node) -> None:
        """A node asks for a lease, so its way is good now: send it the jobs that the way has refused."""
        if node.nonce in self._returned:
            return  # it is sent all of its jobs in a moment
        for live in self._live.at(node.place):
            rank = live.rank_on.get(node.nonce)
            if rank is None or rank in live.unreached.given_up:
                continue
            if (refusal := live.received.refusal(rank)) is None:
                live.unreached.find(rank)
                continue
            lease_s = node.lease_ends_s - boottime_s()  # it has just got one
            if refusal.times > TRIES:
                self._give_up_on(live, node, rank, refusal.reason, lease_s)
                continue
            log.info("job %d: goes on at %s, whose way had refused it", live.job.number, format_path(node.place))
            live.unreached.add(rank, refusal.reason, time.time() + 2 * lease_s + START_WITHIN_S)
            self._send_again(live, [node])

    def _give_up_on(self, live: LiveJob, node: Node, rank: int, reason: str, lease_s: float) -> None:
        """The nodes above a node say that the job does not get to it.  If one of them lies, a program runs there, or
        may begin while its ticket is good.  From now on no lease names the job.  The rank is lost when no lease is left
        that named it."""
        left_s = START_WITHIN_S + lease_s
        live.unreached.given_up.add(rank)
        live.unreached.add(rank, reason, time.time() + left_s)
        log.warning("job %d: given up at %s: %s", live.job.number, format_path(node.place), reason)
        self._lose_when_over(live, node, rank, reason, lease_s, boottime_s() + left_s)

    def _lose_when_over(
        self, live: LiveJob, node: Node, rank: int, reason: str, lease_s: float, until_s: float
    ) -> None:  # fmt: skip
        """until_s: by CLOCK_BOOTTIME.  A grant is a lease too, and names all jobs."""
        left_s = max(until_s, node.granted_s + lease_s) + LEASE_OVER_S - boottime_s()
        if left_s > 0:
            later = asyncio.get_running_loop().call_later
            later(left_s, self._lose_when_over, live, node, rank, reason, lease_s, until_s)
        else:
            live.lose(rank, reason)

    def released(self, live: LiveJob, registry: Registry) -> None:
        """A job is over, and its release goes to the nodes to which this master has sent it.

        Other nodes may have it from a former master.  They hear by a grant that it is over, and so do the nodes on the
        way.
        """
        others: dict[bytes, Node] = {}
        for nonce, rank in live.rank_on.items():
            node = None if live.relayed.reaches(rank) else registry.by_nonce(nonce)
            if node is not None and node.route is not None:
                way = [registry.reached_by(Route(node.route[: end + 1])) for end in range(len(node.route))]
                others |= {each.nonce: each for each in way if each is not None}
        for node in others.values():
            self._master.grant_again(node)


def branch_of(live: LiveJob, nodes: Iterable[Node], *, again: bool = False) -> Branch:
    """again: they may have begun, so it says how much of their output is here."""
    routes = {node.route: live.rank_on[node.nonce] for node in nodes if node.route is not None}
    said = {rank: live.said(rank) for rank in routes.values()} if again else None
    return Branch(-1, branches(routes, said))
