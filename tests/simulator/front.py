"""The product's own master, jobs and receipts; the clients look at all that they get."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from gproc.master import Master
from gproc.nodespec import Place, fold
from gproc.relay.belonging import Belonging
from gproc.relay.hub import Hub
from gproc.relay.receipt import RunOfNode
from gproc.request.outcome import Outcome
from gproc.request.spec import Caller, Request
from gproc.service.absences import Absences
from gproc.service.faults import Faults
from gproc.service.jobs import JobTable
from gproc.service.live import LiveJob
from gproc.service.registry import Registry
from gproc.service.ways import JobWays
from gproc.tree import number
from gproc.wire import frames, messages
from tests.simulator.clock import Process
from tests.simulator.nodes import LEASE_S, Quiet, endpoint_of, host_of, listen, nothing, output_of

if TYPE_CHECKING:
    from tests.simulator.world import World

class SimSession:
    """As `MasterSession`, without its file."""

    id = b"s" * 16
    ended: tuple[bytes, ...] = ()
    run = 1

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self.last_number = 0

    def number(self) -> int:
        self.last_number += 1
        return self.last_number

    def clock_ms(self) -> int:
        return int(self._clock_s() * 1000)

    def lends(self, ends_s: float) -> None:
        pass


class SimClient:
    """The client of one job: it looks at every byte and every outcome."""

    congested = lost = False

    def __init__(self, world: World, live: Callable[[], LiveJob]) -> None:
        self._world = world
        self._live = live
        self.got: dict[tuple[int, int], int] = {}
        self.outcomes: dict[int, Outcome] = {}

    def write(self, frame: bytes) -> None:
        job, rank, stream, offset, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        got = self.got.get((rank, stream), 0)
        if offset != got:
            self._world.fail(f"job {job} rank {rank} stream {stream}: byte {offset} came after byte {got}")
        if data != output_of(job, rank, stream, offset, len(data)):
            self._world.fail(f"job {job} rank {rank} stream {stream}: other bytes at {offset} than were said")
        if rank in self.outcomes:
            self._world.fail(f"job {job} rank {rank}: output after its end")
        self.got[rank, stream] = offset + len(data)
        pause_s = self._world.random.uniform(0.0, 0.03)
        asyncio.get_running_loop().call_later(pause_s, self._credit, stream, len(data))

    def _credit(self, stream: int, size: int) -> None:
        self._live().credited(self, stream, size)

    def send(self, message: messages.Message) -> None:
        if isinstance(message, messages.Finished):
            if message.rank in self.outcomes:
                self._world.fail(f"job {message.job} rank {message.rank}: a second outcome")
            self.outcomes[message.rank] = message.outcome
            self._world.judge(message.job, message.rank, message.outcome, self)


class SimJob(LiveJob):
    """As the product's, which drops what comes for a rank after its end.  Here that is looked at first."""

    world: World

    def write(self, frame: bytes) -> None:
        job, rank, *_ = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        if rank in self.job.outcomes:
            self.world.says_late(job, rank, self.job.outcomes[rank])
        super().write(frame)


class SimService:
    """As `JobService`, for jobs of one client each."""

    def __init__(self, world: World, master: SimMaster) -> None:
        self._world = world
        self._master = master
        self._table = JobTable()
        self._live: dict[int, LiveJob] = {}
        self.ways = JobWays(master, self._live, nothing)

    def running(self) -> list[LiveJob]:
        return list(self._live.values())

    def jobs_at(self, place: Place) -> tuple[int, ...]:
        return self._table.jobs_at(place)

    def begin(self, places: list[Place]) -> None:
        request = Request(nodes=fold(places), argv=(b"x",))
        ranks = number(places)
        job = self._table.add(Caller(0, 0, ()), request, tuple(ranks), self._world.loop.now_s)
        on = [self._master.registry.at(place) for place in ranks]
        runs = [None if node is None else RunOfNode(node.nonce, node.run_key) for node in on]
        client: Any = SimClient(self._world, lambda: live)
        live = SimJob(job, runs, self._master.sign_job(job), client, self._ended)
        live.world = self._world
        self._live[job.number] = live
        self._world.clients[job.number] = client
        there = [node for node in on if node is not None]
        self._master.pass_on(live.relayed, self.ways.run_of(live, there), {})
        for rank, node in enumerate(on):
            if node is None:
                live.lose(rank, "it left before the job reached it")

    def _ended(self, live: LiveJob) -> None:
        self._table.remove(live.job.number)
        self._live.pop(live.job.number, None)
        asyncio.get_running_loop().call_soon(self._master.release, live.release())

    def leftovers(self) -> str:
        return "" if not self._live and not len(self._table) else f"jobs {sorted(self._live)} have not ended"


class SimMaster(Master):
    def __init__(self, world: World) -> None:
        self.world = world
        self.process = Process(host_of(Place(())))

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
        self._session = SimSession(lambda: world.loop.now_s)  # type: ignore[assignment]
        self._returned = asyncio.Event()
        self._book = SimpleNamespace(keeper=SimpleNamespace(note_node=nothing))  # type: ignore[assignment]
        self.jobs = SimService(world, self)
        self._service = self.jobs  # type: ignore[assignment]
        listen(world, self, self.process)
