"""A cluster of a hundred nodes in one process, the faults that happen to it, and what must be true whatever happens."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from typing import Final

import gproc.node.taking
import gproc.relay.children
import gproc.relay.delivery
import gproc.relay.hub
import gproc.relay.merging
import gproc.wire.credit
import gproc.wire.frames
from gproc.nodespec import Place, format_path
from gproc.relay.hub import Hub
from gproc.request.outcome import Killed, Lost, Outcome, Refused, Returned, Signalled
from gproc.trust.signing import Signer, TrustedKeys
from gproc.wire.messages import Route, Run
from tests.simulator import nodes
from tests.simulator.clock import Process, VirtualLoop, replaced, seldom_collected, virtual_time
from tests.simulator.front import SimClient, SimMaster
from tests.simulator.network import Network
from tests.simulator.nodes import SimSlave, Truth
from tests.simulator.signatures import cheap_signatures

RACKS: Final = 4
"""Four racks of four rows of five nodes each: 100 nodes in three levels."""

QUIET_S: Final = 150.0
"""Within so long after the last fault everything must be in order: some leases, and the longest pauses."""

LARGE: Final = 6000
"""Bytes of the longest output: 1.5 times what a node keeps."""


class Violation(Exception):
    """Something that must never happen."""


class World:
    """seed: the same one makes the same run."""

    def __init__(self, seed: int, racks: int = RACKS, rows: int = 4, leaves: int = 5) -> None:
        self.random = random.Random(seed)
        self.loop = VirtualLoop()
        self.network = Network(self.loop, seed)
        self.signer: Signer
        self.places = places_of(racks, rows, leaves)
        self.slaves: dict[Place, SimSlave] = {}
        self.clients: dict[int, SimClient] = {}
        self.truths: dict[tuple[int, int], Truth] = {}
        self.faults = 0
        self.violations: list[str] = []
        self.master = SimMaster(self)

    def keys(self) -> TrustedKeys:
        return TrustedKeys(self.signer.public_key)

    def fail(self, what: str) -> None:
        self.violations.append(f"{self.loop.now_s:.3f} s: {what}")

    # What programs and outcomes must be

    def begins(self, slave: SimSlave, job: int, rank: int, run: Run) -> Truth:
        if (job, rank) in self.truths:
            self.fail(f"job {job} rank {rank} begins twice")
        if job in slave.refused:
            self.fail(f"job {job} rank {rank} begins, and its node has signed that it does not")
        if rank in self.clients[job].outcomes:
            self.fail(f"job {job} rank {rank} begins after its end: {self.clients[job].outcomes[rank]}")
        sizes = {stream: self._size() for stream in (1, 2)}
        truth = self.truths[job, rank] = Truth(slave, rank, sizes, self.random.randint(0, 255))
        slave.launcher.truths.append(truth)
        return truth

    def says_late(self, job: int, rank: int, outcome: Outcome) -> None:
        """Output has come to the master after the rank's end: a node that died, or ended, may have said it before."""
        truth = self.truths.get((job, rank))
        if truth is None or not truth.slave.process.dead:
            self.fail(f"job {job} rank {rank}: output after its end: {outcome}")

    def _size(self) -> int:
        return self.random.choice((0, self.random.randint(1, 300), self.random.randint(1, LARGE)))

    def judge(self, job: int, rank: int, outcome: Outcome, client: SimClient) -> None:
        """A rank has this outcome."""
        truth, now_s, what = self.truths.get((job, rank)), self.loop.now_s, f"job {job} rank {rank}: {outcome}"
        if truth is None:
            if isinstance(outcome, Returned | Signalled):
                self.fail(f"{what}, but it never began")
            return
        if truth.lives(now_s):
            self.fail(f"{what}, but it runs")
        match outcome:
            case Returned(code):
                said = {stream: client.got.get((rank, stream), 0) for stream in truth.sizes}
                if not truth.returned or code != truth.code or said != truth.sizes:
                    self.fail(f"{what}, {said} bytes came; in truth {truth.code}, {truth.sizes} bytes")
            case Lost() | Refused() | Killed() | Signalled():
                if not truth.may_be_lost(now_s):
                    self.fail(f"{what}, but its node lives, and its lease has not ended")
            case _:
                self.fail(f"{what}, which nothing here can cause")

    # The cluster

    def start_all(self) -> None:
        self.inside(self.master.process, self.master.begin)
        for place in self.places:
            self.start(place)
        self.run_for(5.0)

    def start(self, place: Place) -> None:
        slave = self.slaves[place] = SimSlave(self, place)
        self.inside(slave.process, slave.begin)

    def inside(self, process: Process | None, what: Callable[..., None], *args: object) -> None:
        """Have a process do this at once; None: nobody's."""
        context = self.network.context if process is None else process.context
        self.loop.call_soon(what, *args, context=context)

    def living(self) -> list[SimSlave]:
        return [slave for slave in self.slaves.values() if not slave.process.dead]

    def begin_job(self) -> None:
        places = [place for place in self.places if self.master.registry.at(place) is not None]
        if places:
            some = self.random.sample(places, self.random.randint(1, len(places)))
            self.inside(self.master.process, self.master.jobs.begin, sorted(some))

    def run_for(self, seconds: float) -> None:
        self.loop.run_for(seconds)
        self.check()

    # What must always be true

    def check(self) -> None:
        registry = self.master.registry
        for nonce, node in registry._by_nonce.items():
            if node.nonce != nonce or registry._by_place.get(node.place) is not node:
                self.fail(f"{node} has no place of its own")
            if node.route is not None and registry._by_route.get(node.route) is not node:
                self.fail(f"{node} is not where its route says")
        for route, node in registry._by_route.items():
            if node.route != route or registry._by_nonce.get(node.nonce) is not node:
                self.fail(f"the route {format_path(route)} leads to {node}, which is not there")
        self._check_credit(self.master)
        for slave in self.living():
            self._check_credit(slave)
        self.violations += [f"{self.loop.now_s:.3f} s: {failure}" for failure in self.loop.failures]
        self.violations += [f"{self.loop.now_s:.3f} s: {complaint}" for complaint in self.network.complaints]
        if self.violations:
            raise Violation("; ".join(self.violations[:3]))

    def _check_credit(self, hub: SimMaster | SimSlave) -> None:
        """No hop has more credit than its window."""
        for job, relayed in hub.relayed_jobs.items() if hasattr(hub, "relayed_jobs") else ():
            for stream, outlet in relayed._outlets.items():
                used = list(outlet._used.values())
                if any(not 0 <= each <= outlet._source_window_bytes for each in used):
                    self.fail(f"job {job} stream {stream} at {hub.process.host}: credit for {used} bytes is used")

    # When all is quiet

    def settle(self) -> None:
        """No more faults: everything must come into order."""
        for slave in self.living():
            self.inside(None, self.network.thaw, slave.process)
        until_s = self.loop.now_s + QUIET_S
        while (why := self.disorder()) and self.loop.now_s < until_s:
            self.run_for(3.0)
        if why:
            raise Violation(f"{QUIET_S:.0f} s after the last fault: {why}")

    def disorder(self) -> str:
        """What is not in order; "" if nothing."""
        master = self.master
        for place in self.places:
            slave = self.slaves[place]
            node = None if slave.process.dead else master.registry.by_nonce(slave._voice.nonce)
            if node is None or node.route is None or node.place != place or not slave.is_joined:
                return f"{format_path(place)} is not connected"
            if (found := self._at(node.route)) is not slave:
                return f"the route of {node} leads to {found}"
            if left := slave.leftovers():
                return f"{format_path(place)} keeps {left}"
        if left := master.jobs.leftovers():
            return left
        routes = sorted(node.route for node in master.registry.known() if node.route is not None)
        if len(routes) != len(self.places) or len(master.registry.known()) != len(routes):
            return f"{len(routes)} routes to {len(master.registry.known())} nodes"
        if master.relayed_jobs or master.absences.places() or master.tree.routes() != routes:
            return f"the master keeps {sorted(master.relayed_jobs)}, {master.absences.places()} and other routes"
        children = [child for hub in (master, *self.slaves.values()) for child in hub.children]
        tokens = sum(len(hub.children._by_token) for hub in (master, *self.slaves.values()))
        if len(children) != len(self.places) or tokens != len(children):
            return f"{len(children)} children of {len(self.places)} nodes, {tokens} tokens"
        below = sum(len(slave.tree) for slave in self.slaves.values())
        if below != (lengths := sum(len(route) - 1 for route in routes)):
            return f"slaves know {below} nodes below them instead of {lengths}"
        return self._unfinished()

    def _unfinished(self) -> str:
        """Whether a rank has no outcome."""
        for job, client in self.clients.items():
            begun = {rank for each, rank in self.truths if each == job}
            if missing := begun - client.outcomes.keys():
                return f"ranks {sorted(missing)} of job {job} have no outcome"
        self.clients.clear()
        self.truths.clear()
        for slave in self.slaves.values():
            slave.launcher.truths.clear()
        return ""

    def _at(self, route: Route) -> object:
        hub: Hub = self.master
        for id in route:
            child = hub.children.by_id.get(id)
            if child is None:
                return f"nobody at {format_path(route)}"
            found = [slave for slave in self.living() if slave._voice.nonce == child.node.nonce]
            if not found:
                return "a dead node"
            hub = found[0]
        return hub


def places_of(racks: int, rows: int, leaves: int) -> list[Place]:
    found = [Place((rack,)) for rack in range(1, racks + 1)]
    found += [Place((*rack, row)) for rack in list(found) for row in range(1, rows + 1)]
    found += [Place((*row, leaf)) for row in found[racks:] for leaf in range(1, leaves + 1)]
    return sorted(found)


@contextlib.contextmanager
def simulated(world: World) -> Iterator[World]:
    """The product's rules see the simulated clock, small windows, and no world outside."""
    log = logging.getLogger("gproc")
    patches = [
        replaced(gproc.node.taking, "warded_program", nodes.make_program),
        replaced(gproc.relay.children, "ChunkSender", nodes.Quiet),
        replaced(gproc.relay.hub, "Memory", nodes.Quiet),
        replaced(gproc.relay.delivery, "ACKNOWLEDGED_BYTES", nodes.KEPT_BYTES // 4),
        replaced(gproc.relay.merging, "LEAST_BYTES", 16),
        replaced(gproc.relay.merging, "LINK_BYTES", nodes.KEPT_BYTES),
        replaced(gproc.relay.merging, "JOB_BYTES", 3 * nodes.KEPT_BYTES),
        replaced(gproc.wire.credit, "MIN_WINDOW_BYTES", 256),
        replaced(gproc.wire.credit, "MAX_WINDOW_BYTES", nodes.KEPT_BYTES),
        replaced(gproc.wire.frames, "CLIENT_WINDOW_BYTES", nodes.KEPT_BYTES),
    ]
    with contextlib.ExitStack() as stack:
        stack.enter_context(virtual_time(world.loop))
        stack.enter_context(cheap_signatures())
        world.signer = Signer(b"m" * 32)
        stack.enter_context(seldom_collected())
        for patch in patches:
            stack.enter_context(patch)
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)
        try:
            yield world
        finally:
            for slave in world.slaves.values():
                slave.process.dead = True
            world.master.process.dead = True
            world.loop.close()
