"""The product's own master, jobs, receipts and records."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gproc.master import Master
from gproc.nodespec import Place, fold
from gproc.policy.rules import PolicyLimits
from gproc.records.session import MasterSession
from gproc.relay.belonging import Belonging
from gproc.relay.hub import Hub
from gproc.relay.receipt import RunOfNode
from gproc.request.spec import Caller, Request
from gproc.service.absences import Absences
from gproc.service.accounts import Accounts, Bounds
from gproc.service.book import open_records
from gproc.service.departures import Departures
from gproc.service.faults import Faults
from gproc.service.jobs import JobRecord
from gproc.service.live import LiveJob
from gproc.service.registry import Registry
from gproc.service.service import JobService
from gproc.tree import number
from gproc.wire import frames, messages
from gproc.wire.endings import OutputGone
from gproc.wire.job_messages import Keep
from gproc.wire.task_messages import TaskListing
from tests.simulator.clients import SimClient, Typist
from tests.simulator.clock import Process
from tests.simulator.nodes import LEASE_S, Quiet, endpoint_of, host_of, listen
from tests.simulator.programs import nothing, output_of
from tests.simulator.tasks import ARGV, SimMapper

if TYPE_CHECKING:
    from gproc.records.spooling import JobSpool
    from gproc.records.task_lists import TaskListFile
    from tests.simulator.world import World

CLUSTER: Final = "c"

LISTS_BYTES: Final = 8 << 10
"""The limit of all lists of tasks together: sometimes one list more is too much."""


class Wanted(NamedTuple):
    """What a client asks for.  input_bytes: of its standard input; None: it has none.  fanout: on how many nodes it
    runs at a time; None: on all.  max_fail: no more ranks begin after so many have failed.  maps: it is `gproc map`.
    listed: with `--detach`."""

    places: list[Place]
    keep: Keep = Keep()
    input_bytes: int | None = None
    fanout: int | None = None
    max_fail: int | None = None
    maps: bool = False
    listed: bool = False


class NoDisk:
    """The session and the records of a master that never comes back."""

    id = b"s" * 16
    ended: tuple[bytes, ...] = ()
    run = 1
    found = False

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self.last_number = 0
        self.keeper = SimpleNamespace(note_node=nothing, number=itertools.count(1).__next__)

    def number(self) -> int:
        self.last_number += 1
        return self.last_number

    def clock_ms(self) -> int:
        return int(self._clock_s() * 1000)

    def lends(self, ends_s: float) -> None:
        pass

    def note(self, live: LiveJob) -> None:
        pass


class SimJob(LiveJob):
    """As the product's, and looks at what comes before that may drop it, and at what is passed on."""

    world: World

    def write(self, frame: bytes) -> None:
        job, rank, stream, offset, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        if rank in self.job.outcomes:
            self.world.fail(f"job {job} rank {rank}: output after its end: {self.job.outcomes[rank]}")
        elif self.has_takers:
            got = self._passed.get((rank, stream), 0)
            if offset != got:
                self.world.fail(f"job {job} rank {rank} stream {stream}: byte {offset} is passed on after byte {got}")
            if not self.is_map and data != output_of(job, rank, stream, offset, len(data)):
                self.world.fail(f"job {job} rank {rank} stream {stream}: other bytes at {offset} than were said")
        super().write(frame)

    @property
    def is_map(self) -> bool:
        return self.job.request.action == "map"

    @property
    def has_takers(self) -> bool:
        return self.attached is not None or self.spool is not None

    def passed(self, rank: int, stream: int) -> int:
        """How much its takers have been given."""
        return self._passed.get((rank, stream), 0)

    def send(self, message: messages.Message) -> None:
        if isinstance(message, OutputGone):
            if not self.world.jobs[self.job.number].may_lack:
                self.world.fail(f"job {self.job.number} rank {message.rank}: {message.bytes} bytes are nowhere")
            self._passed[message.rank, message.stream] = message.bytes
        known = isinstance(message, messages.Finished) and message.rank in self.job.outcomes
        super().send(message)
        if isinstance(message, messages.Finished) and not known:
            self.world.judge(self, message.rank, self.job.outcomes[message.rank])


class SimDepartures(Departures):
    """world: hears what is promised."""

    world: World

    async def _survive(self, live: LiveJob) -> None:
        await super()._survive(live)
        self.world.jobs[live.job.number].is_promised = True


class SimService(JobService):
    """The product's job service, for jobs of one client each; it refuses no client."""

    def __init__(self, world: World, master: SimMaster, book: Any, spools: Any) -> None:
        offers: Any = SimpleNamespace(unavailable=nothing, withdraw=nothing)
        warden: Any = SimpleNamespace(ended=nothing)
        super().__init__(master, offers, warden, book, spools)
        self._departures = SimDepartures(master, book, spools)
        self._departures.world = world
        self._world = world
        self._account = Accounts(Bounds(LISTS_BYTES), frozenset()).open(0)
        self._lists: list[TaskListFile] = []

    def begin(self, wanted: Wanted) -> None:
        stdin, fanout = wanted.input_bytes is not None, wanted.fanout
        request = Request(nodes=fold(wanted.places), argv=(b"x",), stdin=stdin, fanout=fanout, max_fail=wanted.max_fail)
        if wanted.maps:
            request = Request(nodes=request.nodes, argv=ARGV, stdin=True, action="map")
        ranks = number(wanted.places)
        job = self._table.add(Caller(0, 0, ()), request, tuple(ranks), self._world.loop.now_s)
        on = [self._master.registry.at(place) for place in ranks]
        runs = [None if node is None else RunOfNode(node.nonce, node.run_key) for node in on]
        live, client = self._begun(wanted, job, runs)
        self._live[job.number] = live
        self._world.begun(live, wanted)
        client.begin(live)
        self._book.note(live)
        self._departures.began(client, live, wanted.keep)
        live.start_timer()
        self._start(live, on)

    def _begun(self, wanted: Wanted, job: JobRecord, runs: Sequence[RunOfNode | None]) -> tuple[SimJob, Any]:
        """The job and its client."""
        from tests.simulator.listed import SimListedJob, SimLister  # it is above this

        signed, client = self._master.sign_job(job), SimMapper(self._world) if wanted.maps else SimClient(self._world)
        link: Any = client
        if not wanted.listed:
            return SimJob(job, runs, signed, link, self._finish, self._turns.have_room, self._book.note), client
        link, listing = SimLister(self._world), TaskListing(slots=self._world.random.randint(1, 3))
        listed = SimListedJob(
            job, runs, signed, link, self._finish, self._book.note, listing, self._book.task_list(), self._account
        )
        self._lists.append(listed.file)
        return listed, link

    def _finish(self, live: LiveJob) -> None:
        super()._finish(live)
        if live.spool is None:
            self._world.jobs[live.job.number].is_over = True

    async def _settle(self, live: LiveJob, spool: JobSpool) -> None:
        await super()._settle(live, spool)
        while self._book.keeper.problem is not None:  # noqa: ASYNC110 - the product does not wait
            await asyncio.sleep(0.5)
        self._world.look_at_kept(live.job.number, live.job.outcomes)

    def let_client_leave(self, live: LiveJob) -> None:
        """Its client asks to leave it."""
        if live.attached is not None and not live.job.over and live.job.request.action != "map":
            client: Any = live.attached
            self._departures.leave(client, live)

    def lose_client(self, live: LiveJob) -> None:
        """Its client is killed."""
        client: Any = live.attached if live.attached is not None else getattr(live, "client", None)
        if client is not None and not client.lost and live.job.number in client.jobs and not live.job.over:
            client.lost = True
            client.jobs.clear()
            self._departures.lost(live)

    def attach(self, live: LiveJob) -> None:
        """Begin to type the job's input, if no client does."""
        is_read = live.job.request.stdin and live.job.request.action != "map"
        if is_read and live.input_from is None and not live.input_ended and not live.job.over:
            typist = Typist(self._world, live)
            live.viewers.add(typist)
            live.input_from = typist
            typist.begin()

    def leftovers(self) -> str:
        if self._live or len(self._table) or self._settling:
            return f"jobs {sorted({*self._live, *self._settling})} have not ended"
        if self._account.held_bytes or any(file._file is not None for file in self._lists):
            return f"of lists of tasks {self._account.held_bytes} bytes and some files are kept"
        return ""


class SimMaster(Master):
    def __init__(self, world: World) -> None:
        self.world = world
        self.process = Process(host_of(Place(())))
        self.has_begun = False

    def begin(self) -> None:
        """Call this in the context of its process."""
        endpoint, world = endpoint_of("master", self.world.keys()), self.world
        Hub.__init__(self, SimpleNamespace(), endpoint, Belonging("master", True, lambda name: None), 2.0)  # type: ignore[arg-type]
        self.heartbeats = Quiet()  # type: ignore[assignment]
        self.registry = Registry()
        self._node_keys = SimpleNamespace(objection=lambda info: "", proved=lambda info: info)  # type: ignore[assignment]
        self.absences = Absences()
        self.faults = Faults()
        self._regained = SimpleNamespace(note=nothing)  # type: ignore[assignment]
        self._lease_s = LEASE_S
        self._own_name = "master"
        self._signer = world.signer
        self._returned = asyncio.Event()
        book: Any
        spools: Any
        if world.disk is None:
            book, spools = NoDisk(lambda: world.loop.now_s), None
            self._session = book
        else:
            self._session = MasterSession(world.disk.place, CLUSTER, world.disk.boot)
            book, spools = open_records(world.disk.place, PolicyLimits(), goes_on=self._session.found)
        self._book, self._spools = book, spools
        self.jobs = SimService(world, self, book, spools)
        self._service = self.jobs
        self.go_on()
        self.has_begun = True
        listen(world, self, self.process)

    def crash(self) -> None:
        """It is no more."""
        self.world.network.kill(self.process)
        assert self.world.disk is not None
        self.world.disk.crash()
        if self.has_begun:
            self._book.keeper._database.close()
