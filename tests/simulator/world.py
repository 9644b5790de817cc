"""A cluster of a hundred nodes in one process, the faults that happen to it, and what must be true whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import gproc.node.taking
import gproc.node.tasks
import gproc.records.keeper
import gproc.records.spool
import gproc.relay.announcing
import gproc.relay.children
import gproc.relay.common
import gproc.relay.delivery
import gproc.relay.hub
import gproc.relay.merging
import gproc.service.departures
import gproc.service.service
import gproc.service.window
import gproc.trust.tls
import gproc.wire.credit
import gproc.wire.frames
import gproc.wire.merging
from gproc.nodespec import Place, format_path
from gproc.relay.hub import Hub
from gproc.request.outcome import Killed, Lost, Outcome, Refused, Returned, Signalled
from gproc.service.continuing import is_given_up
from gproc.service.registry import Registry
from gproc.trust.signing import Signer, TrustedKeys
from gproc.wire.job_messages import Keep
from gproc.wire.messages import Route, Run
from tests.simulator import programs
from tests.simulator.clock import Process, VirtualLoop, replaced, seldom_collected, virtual_time
from tests.simulator.disk import Disk, FullOs
from tests.simulator.front import SimJob, SimMaster, Wanted
from tests.simulator.kept import KeptJobs
from tests.simulator.network import Network
from tests.simulator.nodes import Quiet, SimSlave
from tests.simulator.programs import LARGE, Truth, input_of
from tests.simulator.signatures import cheap_signatures
from tests.simulator.tasks import MapFacts

RACKS: Final = 4
"""Four racks of four rows of five nodes each: 100 nodes in three levels."""

QUIET_S: Final = 150.0
"""Within so long after the last fault everything must be in order: some leases, and the longest pauses."""

WRITTEN_S: Final = 2.0
"""Within so long what the master says is on its disk, if that is not full."""

INPUTS: Final = (0, 300, LARGE)
"""Up to so many bytes of standard input a job has."""


class Violation(Exception):
    """Something that must never happen."""


class JobFacts:
    """What is known of one job from outside.

    input_bytes: of its standard input; None: it has none.  outcomes: of the ranks that have ended, as far as the
    present master knows.  is_promised: whether it goes on without its client and its master.  is_late: whether its
    first output went to its client alone.  is_over: whether all of its ranks have ended.  is_gone: whether its master
    has crashed, and it ended with it.  signals: how many its programs were sent that end nothing.  may_lack: whether
    the disk was full while it ran, so that not all of its output is kept.  given_up: when the present master said of a
    rank that nothing of it runs, or will.  never: the ranks of which a former one had said so, and written it down.
    """

    def __init__(self, size: int, wanted: Wanted) -> None:
        self.size = size
        self.input_bytes = wanted.input_bytes
        self.is_late = not (wanted.keep.detach or wanted.keep.survive)
        self.outcomes: dict[int, Outcome] = {}
        self.is_promised = self.is_over = self.is_gone = self.may_lack = False
        self.signals = 0
        self.given_up: dict[int, float] = {}
        self.never: set[int] = set()


class World:
    """seed: the same one makes the same run.  keeps: the master has a disk and may crash, and jobs have an input.
    turns: half of the jobs run on a few nodes at a time.  fills: the master's disk is full at times, and of these jobs
    some begin nowhere any more if too many nodes have failed.  ends: it ends cleanly at times.  maps: some of the jobs
    have a list of tasks."""

    def __init__(
        self, seed: int, racks: int = RACKS, rows: int = 4, leaves: int = 5, *, keeps: bool = False,
        turns: bool = False, fills: bool = False, ends: bool = False, maps: bool = False,
    ) -> None:  # fmt: skip
        self.random = random.Random(seed)
        self.loop = VirtualLoop()
        self.network = Network(self.loop, seed)
        self.signer: Signer
        self.places = places_of(racks, rows, leaves)
        self.slaves: dict[Place, SimSlave] = {}
        self.disk = Disk(self.loop, seed) if keeps else None
        self.jobs: dict[int, JobFacts] = {}
        self.truths: dict[tuple[int, int], Truth] = {}
        self.faults = self.returned = 0
        self.violations: list[str] = []
        self.master = SimMaster(self)
        self.kept = KeptJobs(self)
        self.turns = turns
        self.fills = fills
        self.ends = ends
        self.maps = maps
        self.map_facts: dict[int, MapFacts] = {}
        self.ended: set[bytes] = set()
        """The sessions that have ended cleanly."""
        self._ending: asyncio.Future[None] | None = None

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
        if rank in (facts := self.jobs[job]).outcomes and not facts.is_gone:
            self.fail(f"job {job} rank {rank} begins after its end: {facts.outcomes[rank]}")
        if rank in facts.never and not facts.is_gone:
            self.fail(f"job {job} rank {rank} begins, of which a former master had said that it will not")
        sizes = {stream: self._size() for stream in (1, 2)}
        truth = self.truths[job, rank] = Truth(slave, rank, sizes, self.random.randint(0, 255))
        slave.launcher.truths.append(truth)
        return truth

    def _size(self) -> int:
        return self.random.choice((0, self.random.randint(1, 300), self.random.randint(1, LARGE)))

    def task_begins(self, job: int, task: int, rank: int) -> None:
        begun, what = self.map_facts[job].begun, f"job {job} task {task}"
        if task in begun:
            self.fail(f"{what} begins on rank {rank}, and has begun on rank {begun[task]}")
        if rank in (facts := self.jobs[job]).outcomes and not facts.is_gone:
            self.fail(f"{what} begins on rank {rank}, which has ended: {facts.outcomes[rank]}")
        begun[task] = rank

    def may_end_outside(self, job: int, rank: int) -> bool:
        """Whether tasks there may have been ended from outside."""
        truth = self.truths.get((job, rank))
        return truth is None or truth.may_be_lost(self.loop.now_s)

    def signalled(self, job: int, truth: Truth) -> None:
        """A program has been sent a signal."""
        truth.signals += 1
        if truth.signals > self.jobs[job].signals:
            self.fail(f"job {job} rank {truth.rank} has got {truth.signals} signals of {self.jobs[job].signals}")

    def reads(self, job: int, truth: Truth, data: bytes) -> None:
        """A program has read this of its standard input; b"" is the end."""
        size, what = self.jobs[job].input_bytes or 0, f"job {job} rank {truth.rank}"
        if truth.at_end or data != input_of(job, truth.read, len(data)):
            self.fail(f"{what} reads other {len(data)} bytes at {truth.read} than were typed")
        truth.read += len(data)
        truth.at_end = not data
        if truth.read > size or (truth.at_end and truth.read != size):
            self.fail(f"{what} has read {truth.read} bytes of {size}, and the end: {truth.at_end}")

    def judge(self, live: SimJob, rank: int, outcome: Outcome) -> None:
        """A rank has this outcome."""
        job, now_s = live.job.number, self.loop.now_s
        truth, what = self.truths.get((job, rank)), f"job {job} rank {rank}: {outcome}"
        self.jobs[job].outcomes[rank] = outcome
        if is_given_up(outcome):
            self.jobs[job].given_up[rank] = now_s
        if truth is None:
            if isinstance(outcome, Returned | Signalled):
                self.fail(f"{what}, but it never began")
            return
        if truth.lives(now_s):
            self.fail(f"{what}, but it runs")
        match outcome:
            case Returned(code):
                self.returned += 1
                said = {stream: live.passed(rank, stream) for stream in truth.sizes}
                if not truth.returned or code != truth.code or (live.has_takers and said != truth.sizes):
                    self.fail(f"{what}, {said} bytes came; in truth {truth.code}, {truth.sizes} bytes")
            case Refused(reason) if "forged" in reason:
                self.fail(f"{what}, and nobody forges")
            case Lost() | Refused() | Killed() | Signalled():
                if not truth.may_be_lost(now_s):
                    self.fail(f"{what}, but its node lives, and its lease has not ended")
            case _:
                self.fail(f"{what}, which nothing here can cause")

    # Jobs

    def begin_job(self) -> None:
        places = [place for place in self.places if self.master.registry.at(place) is not None]
        if places:
            some = sorted(self.random.sample(places, self.random.randint(1, len(places))))
            self.inside(self.master.process, self.master.jobs.begin, self._wanted(some))

    def _wanted(self, places: list[Place]) -> Wanted:
        if self.maps and self.random.random() < 0.5:
            return Wanted(places, maps=True)
        fanout = self.random.randint(1, 4) if self.turns and self.random.random() < 0.5 else None
        max_fail = self.random.choice((None, None, 1, 3)) if self.fills and fanout is not None else None
        if self.disk is None:
            return Wanted(places, fanout=fanout, max_fail=max_fail)
        keep = self.random.choice((Keep(), Keep(), Keep(detach=True), Keep(detach=True), Keep(survive=True)))
        size = None if self.random.random() < 0.5 else self.random.randint(0, self.random.choice(INPUTS))
        return Wanted(places, keep, size, fanout, max_fail)

    def begun(self, live: SimJob, wanted: Wanted) -> None:
        facts = self.jobs[live.job.number] = JobFacts(len(wanted.places), wanted)
        if wanted.maps:
            self.map_facts[live.job.number] = MapFacts()
        facts.may_lack = self.disk is not None and self.disk.is_full

    def attend(self) -> None:
        """Somebody types what the clients of detached jobs have not typed."""
        for live in self.master.jobs.running():
            if self.random.random() < 0.3:
                self.inside(self.master.process, self.master.jobs.attach, live)

    def fill_disk(self, seconds: float) -> None:
        """What running jobs say is not kept for a while, unless it waits until then."""
        if self.disk is None or self.disk.is_full:
            return
        self.disk.is_full = True
        for facts in self.jobs.values():
            facts.may_lack |= not facts.is_over
        self.network.schedule(seconds, setattr, self.disk, "is_full", False)

    # The crash of the master

    @property
    def has_master(self) -> bool:
        return self.master.has_begun and not self.master.process.dead

    def crash(self) -> None:
        """The master is killed, and what it knows is what is on its disk."""
        self.master.crash()
        for facts in self.jobs.values():
            if not facts.is_over:
                facts.outcomes = {}
                written_s = self.loop.now_s - WRITTEN_S
                facts.never |= {rank for rank, said_s in facts.given_up.items() if said_s < written_s}
                facts.given_up = {}

    def bring_back(self, *, rebooted: bool) -> None:
        """Another master is started.  rebooted: and so was its machine before."""
        assert self.disk is not None
        self.disk.boots += rebooted
        self.master = SimMaster(self)
        self.inside(self.master.process, self._begin_again, rebooted)

    def _begin_again(self, rebooted: bool) -> None:
        self.master.begin()
        running = {live.job.number: live for live in self.master.jobs.running()}
        for job, facts in self.jobs.items():
            if facts.is_over or facts.is_gone:
                continue
            if job in running or self.kept.has_ended(job):
                facts.is_over = job not in running
                for rank, outcome in self.kept.outcomes(job).items():
                    facts.outcomes[rank] = outcome
                if facts.is_over:
                    self.look_at_kept(job, facts.outcomes)
                continue
            if facts.is_promised and not rebooted:
                self.fail(f"job {job} was to go on, and is gone")
            facts.is_gone = True

    # Its clean end

    def end_cleanly(self, then: Callable[[], None]) -> None:
        """gproc stop.  then: called when the master has ended."""
        master = self.master

        def begin() -> None:
            self._ending = asyncio.ensure_future(self._end(master, then))

        self.inside(master.process, begin)

    async def _end(self, master: SimMaster, then: Callable[[], None]) -> None:
        if self.random.random() < 0.5:
            await master._await_return()  # otherwise nodes that change their parents hear it from the next master
        if master.session in self.ended:
            return  # it was asked to end twice
        self.ended.add(master.session)
        for facts in self.jobs.values():
            facts.is_gone |= not facts.is_over
        await master.end_tree()
        await asyncio.sleep(0.0)
        self.network.kill(master.process)
        then()

    def start_what_has_ended(self) -> None:
        """gproc start, again and again, until the tree is there."""
        for slave in list(self.slaves.values()):
            if slave.process.dead:
                self.start(slave.home)
        if any(slave.last_session in self.ended for slave in self.slaves.values()):
            self.network.schedule(1.0, self.start_what_has_ended)

    def look_at_kept(self, job: int, outcomes: Mapping[int, Outcome]) -> None:
        """All of a job is on the disk."""
        self.jobs[job].is_over = True
        self.kept.look(job, self.jobs[job], outcomes)

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

    def run_for(self, seconds: float) -> None:
        self.loop.run_for(seconds)
        self.check()

    # What must always be true

    def check(self) -> None:
        if self.has_master:
            self._check_registry(self.master.registry)
            self._check_credit(self.master)
        for slave in self.living():
            self._check_credit(slave)
            self._check_session(slave)
        self.violations += [f"{self.loop.now_s:.3f} s: {failure}" for failure in self.loop.failures]
        self.violations += [f"{self.loop.now_s:.3f} s: {complaint}" for complaint in self.network.complaints]
        if self.violations:
            raise Violation("; ".join(self.violations[:3]))

    def _check_session(self, slave: SimSlave) -> None:
        """A node ends with its session."""
        session = slave._verifier.session
        if session != slave.last_session:
            if slave.last_session in self.ended:
                self.fail(f"{format_path(slave.home)} goes on in another session, though its own has ended")
            slave.last_session = session

    def _check_registry(self, registry: Registry) -> None:
        for nonce, node in registry._by_nonce.items():
            if node.nonce != nonce or registry._by_place.get(node.place) is not node:
                self.fail(f"{node} has no place of its own")
            if node.route is not None and registry._by_route.get(node.route) is not node:
                self.fail(f"{node} is not where its route says")
        for route, node in registry._by_route.items():
            if node.route != route or registry._by_nonce.get(node.nonce) is not node:
                self.fail(f"the route {format_path(route)} leads to {node}, which is not there")

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
            if self.disk is not None and self.has_master:
                self.attend()
            self.run_for(3.0)
        if why:
            raise Violation(f"{QUIET_S:.0f} s after the last fault: {why}")

    def disorder(self) -> str:
        """What is not in order; "" if nothing."""
        master = self.master
        if not self.has_master:
            return "the master is away"
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
        """Whether a rank has no outcome, or runs although its job is over."""
        for job, facts in self.jobs.items():
            if not facts.is_gone and len(facts.outcomes) < facts.size:
                return f"of job {job} only the ranks {sorted(facts.outcomes)} have an outcome"
        if running := [key for key, truth in self.truths.items() if truth.lives(self.loop.now_s)]:
            return f"these jobs and ranks still run: {running}"
        if self.disk is not None and (left := self.kept.leftovers(len(self.places))):
            return left
        self.jobs.clear()
        self.truths.clear()
        self.map_facts.clear()
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
        replaced(gproc.node.taking, "warded_program", programs.make_program),
        replaced(gproc.relay.children, "ChunkSender", Quiet),
        replaced(gproc.relay.hub, "Memory", Quiet),
        replaced(gproc.node.tasks, "KEPT_BYTES", programs.KEPT_BYTES),
        replaced(gproc.relay.delivery, "ACKNOWLEDGED_BYTES", programs.KEPT_BYTES // 4),
        replaced(gproc.relay.merging, "LEAST_BYTES", 16),
        replaced(gproc.relay.merging, "LINK_BYTES", programs.KEPT_BYTES),
        replaced(gproc.relay.merging, "JOB_BYTES", 3 * programs.KEPT_BYTES),
        replaced(gproc.wire.merging, "PART_BYTES", 32),
        replaced(gproc.relay.announcing, "ANNOUNCED_BYTES_MIN", 24 if programs.Saying.is_alike else 1 << 20),
        replaced(gproc.relay.common, "ANNOUNCED_BYTES_MIN", 24),
        replaced(gproc.relay.common, "POOL_BYTES", programs.KEPT_BYTES),
        replaced(gproc.relay.common, "PAUSED_POOL_BYTES", programs.KEPT_BYTES // 2),
        replaced(gproc.relay.common, "PROBED_BYTES", 2 * programs.KEPT_BYTES),
        replaced(gproc.relay.common, "PAUSE_BYTES", 4 * programs.KEPT_BYTES),
        replaced(gproc.wire.credit, "MIN_WINDOW_BYTES", 256),
        replaced(gproc.wire.credit, "MAX_WINDOW_BYTES", programs.KEPT_BYTES),
        replaced(gproc.wire.frames, "CLIENT_WINDOW_BYTES", programs.KEPT_BYTES),
        replaced(gproc.service.window, "CLIENT_WINDOW_BYTES", programs.KEPT_BYTES),
        replaced(gproc.service.departures, "SPOOL_WINDOW_BYTES", programs.KEPT_BYTES // 4),
        replaced(gproc.service.service, "LiveJob", SimJob),
        replaced(gproc.records.spool, "FILE_BYTES", 4 * programs.KEPT_BYTES),
        replaced(SimJob, "world", world),
        replaced(gproc.trust.tls, "is_master", lambda _: False),
    ]
    if world.disk is not None:
        patches += [
            replaced(gproc.records.keeper, "ThreadPoolExecutor", world.disk.new_thread),
            replaced(gproc.records.spool, "os", FullOs(world.disk)),
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
            if world.disk is not None and world.has_master:
                world.master.crash()
            world.master.process.dead = True
            world.loop.close()
            if world.disk is not None:
                world.disk.close()
