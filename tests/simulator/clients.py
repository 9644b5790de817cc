"""The clients of simulated jobs: they look at all that they get, and type what the programs read."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gproc.request.outcome import Outcome
from gproc.service.live import LiveJob
from gproc.wire import frames, messages
from gproc.wire.job_messages import Detached
from tests.simulator.programs import input_of, output_of

if TYPE_CHECKING:
    from tests.simulator.world import World

PIECE_BYTES = 1500


class Typist:
    """Types the standard input of one job, as its client or as a `service.viewer.Viewer` that was attached to it."""

    def __init__(self, world: World, live: LiveJob) -> None:
        self._world = world
        self._live = live
        self._credit = live.stdin_credit
        self._size = world.jobs[live.job.number].input_bytes or 0
        self._typed = live._input_bytes  # a former master may have taken less than was typed

    def begin(self) -> None:
        pause_s = self._world.random.uniform(0.0, 0.1)
        asyncio.get_running_loop().call_later(pause_s, self._type)

    def tell(self, message: messages.Message) -> None:
        if isinstance(message, messages.Credit):
            if self._credit == 0:
                self.begin()
            self._credit += message.bytes

    def finished(self, rank: int, outcome: Outcome) -> None:
        pass

    def _type(self) -> None:
        live, client = self._live, self._live.attached
        if live.job.over or live.input_ended or live.input_from not in (self, client) or live.input_from is None:
            return
        if self._typed == self._size:
            live.stdin(b"")
            return
        size = min(self._credit, self._size - self._typed, self._world.random.randint(1, PIECE_BYTES))
        if size:
            live.stdin(input_of(live.job.number, self._typed, size))
            self._credit -= size
            self._typed += size
        if self._credit or self._typed == self._size:
            self.begin()


class SimClient:
    """The client of one job, and its connection to the master."""

    congested = lost = False

    def __init__(self, world: World) -> None:
        self._world = world
        self.jobs: dict[int, LiveJob] = {}
        self.link = self
        self.got: dict[tuple[int, int], int] = {}
        self.outcomes: dict[int, Outcome] = {}
        self._typist: Typist | None = None

    def begin(self, live: LiveJob) -> None:
        """This is its job."""
        self.jobs[live.job.number] = live
        if live.job.request.stdin:
            self._typist = Typist(self._world, live)
            self._typist.begin()

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
        asyncio.get_running_loop().call_later(pause_s, self._take, job, stream, len(data))

    def _take(self, job: int, stream: int, size: int) -> None:
        if (live := self.jobs.get(job)) is not None:
            live.credited(self, stream, size)

    def send(self, message: messages.Message) -> None:
        match message:
            case messages.Finished(job, rank, outcome):
                if rank in self.outcomes:
                    self._world.fail(f"job {job} rank {rank}: a second outcome")
                self.outcomes[rank] = outcome
            case messages.Credit():
                if self._typist is not None:
                    self._typist.tell(message)
            case Detached(job, reason):
                if not reason:
                    self._world.jobs[job].is_promised = True
            case _:
                pass
