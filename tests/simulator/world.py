"""A cluster of a hundred nodes in one process, the faults that happen to it, and what must be true all the same."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from gproc.nodespec import Place, format_path
from gproc.request.outcome import Killed, Lost, Outcome, Refused, Returned, Signalled
from gproc.service.continuing import is_given_up
from gproc.service.drained_tasks import tell_of_drained
from gproc.service.live import LiveJob
from gproc.service.registry import Registry
from gproc.trust.signing import Signer, TrustedKeys
from gproc.wire.job_messages import Keep
from gproc.wire.messages import Run
from gproc.wire.tasks import TaskOrder
from tests.simulator.clock import Process, VirtualLoop
from tests.simulator.disk import Disk
from tests.simulator.facts import JobFacts, Switches, Violation
from tests.simulator.front import SimJob, SimMaster, Wanted
from tests.simulator.hostclocks import HostClocks
from tests.simulator.kept import KeptJobs
from tests.simulator.network import Network
from tests.simulator.nodes import SimSlave
from tests.simulator.programs import LARGE, Truth, input_of
from tests.simulator.tasks import MapFacts, values_of

RACKS: Final = 4
"""Four racks of four rows of five nodes each: 100 nodes in three levels."""

WRITTEN_S: Final = 2.0
"""Within so long what the master says is on its disk, if that is not full."""

INPUTS: Final = (0, 300, LARGE)
"""Up to so many bytes of standard input a job has."""


class World:
    """seed: the same one makes the same run.  switches: those of `Switches` that are on."""

    def __init__(self, seed: int, racks: int = RACKS, rows: int = 4, leaves: int = 5, **switches: bool) -> None:
        self.switches = Switches(**switches)
        self.random = random.Random(seed)
        self.loop = VirtualLoop()
        self.network = Network(self.loop, seed)
        self.signer: Signer
        self.places = places_of(racks, rows, leaves)
        self.slaves: dict[Place, SimSlave] = {}
        self.disk = Disk(self.loop, seed) if self.switches.keeps else None
        self.clocks = HostClocks(self.loop, seed, differ=self.switches.clocks)
        self.jobs: dict[int, JobFacts] = {}
        self.truths: dict[tuple[int, int], Truth] = {}
        self.faults = self.returned = 0
        self.violations: list[str] = []
        self.master = SimMaster(self)
        self.kept = KeptJobs(self)
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

    def task_begins(self, job: int, order: TaskOrder, rank: int) -> None:
        known, task = self.map_facts[job], order.number
        begun, what = known.begun, f"job {job} task {task}"
        if order.values != values_of(job, task):
            self.fail(f"{what} begins with {order.values!r}, which is not in its line")
        if task not in known.drained.get(rank, (task,)):
            self.fail(f"{what} begins on rank {rank}, which was to get no new ones")
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
            case Lost() if self.switches.refuses and truth.returned and self.jobs[job].may_lack:
                pass  # nodes may forget a job whose end no disk takes, and then the master has crashed
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
        if self.switches.maps and self.random.random() < 0.5:
            listed = self.disk is not None and self.random.random() < 0.5
            return Wanted(places, Keep(detach=listed), maps=True, listed=listed)
        fanout = self.random.randint(1, 4) if self.switches.turns and self.random.random() < 0.5 else None
        max_fail = self.random.choice((None, None, 1, 3)) if self.switches.fills and fanout is not None else None
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
        """Have simulated users type what the clients of detached jobs have not typed."""
        for live in self.master.jobs.running():
            if self.random.random() < 0.3:
                self.inside(self.master.process, self.master.jobs.attach, live)

    def drain(self) -> None:
        """gproc drain: some nodes get no new tasks of the jobs that run.  They take new jobs all the same here."""
        lives = self.master.jobs.running()
        if any(live.job.request.action == "map" for live in lives):
            some = self.random.sample(self.places, self.random.randint(1, max(1, len(self.places) // 4)))
            self.inside(self.master.process, tell_of_drained, lives, some)

    def fill_disk(self, seconds: float) -> None:
        """The disk is full for a while: the output of running jobs is not kept, unless it waits until then."""
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
        if self.switches.refuses and self.disk.is_full:  # it says so, and does not start
            self.network.schedule(1.0, lambda: self.bring_back(rebooted=rebooted))
            return
        self.disk.boots += rebooted
        if rebooted:
            self.clocks.start(self.master.process.host)
        self.master = SimMaster(self)
        self.inside(self.master.process, self._begin_again, rebooted)

    def _begin_again(self, rebooted: bool) -> None:
        self.master.begin()
        running = {live.job.number: live for live in self.master.jobs.running()}
        for job, facts in self.jobs.items():
            if facts.is_over or facts.is_gone:
                continue
            if job in running:
                self._look_at_input(running[job])
            if job in running or self.kept.has_ended(job):
                facts.is_over = job not in running
                for rank, outcome in self.kept.outcomes(job).items():
                    facts.outcomes[rank] = outcome
                if facts.is_over:
                    self.look_at_kept(job, facts.outcomes)
                continue
            has_lost_input = self.switches.refuses and facts.may_lack and facts.input_bytes is not None
            if facts.is_promised and not rebooted and not has_lost_input:
                self.fail(f"job {job} was to go on, and is gone")
            self.kept.look_at_what_is_left(job)
            facts.is_gone = True

    def _look_at_input(self, live: LiveJob) -> None:
        """A master that goes on with a job knows of all input that a running program has."""
        job, now_s = live.job.number, self.loop.now_s
        running = [truth for (number, _), truth in self.truths.items() if number == job and truth.lives(now_s)]
        read = max((truth.read for truth in running), default=0)
        if read > live._input_bytes and not live.job.over:
            self.fail(f"job {job} goes on with {live._input_bytes} bytes of input, and a program has read {read}")

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
        """Have a process do this at once.  None: outside of all processes."""
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


def places_of(racks: int, rows: int, leaves: int) -> list[Place]:
    found = [Place((rack,)) for rack in range(1, racks + 1)]
    found += [Place((*rack, row)) for rack in list(found) for row in range(1, rows + 1)]
    found += [Place((*row, leaf)) for row in found[racks:] for leaf in range(1, leaves + 1)]
    return sorted(found)
