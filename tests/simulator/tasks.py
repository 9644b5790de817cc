"""`gproc map` in the simulator: a client with a list, by the product's rules, and nodes that run its tasks.

A task says and returns what a formula gives.  Also if processes die, no task begins twice, each has one end, and it is
lost only with its node.
"""

from __future__ import annotations

import asyncio
import signal
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from gproc.launch.protocol import ProgramEnded
from gproc.node.running_task import RunningTask
from gproc.node.tasks import TaskHost
from gproc.nodespec import NodeSpec
from gproc.request.outcome import Lost, Returned
from gproc.request.template import Template
from gproc.service.live import LiveJob
from gproc.tasks.feed import TaskDone, TaskFeed, TaskOutput
from gproc.wire import frames, messages
from gproc.wire.frames import STDOUT
from gproc.wire.job_messages import NodesDrained
from gproc.wire.tasks import Setup, TaskSaid
from tests.simulator.clients import SimClient
from tests.simulator.programs import NOISE

if TYPE_CHECKING:
    from tests.simulator.programs import SimProgram

ARGV: Final = (b"x", b"{}")
TASKS_MAX: Final = 80
SAID_MAX: Final = 400


def _draw(job: int, task: int) -> int:
    return zlib.crc32(b"%d %d" % (job, task))


def code_of(job: int, task: int) -> int:
    """What a task returns."""
    return max(0, _draw(job, task) % 7 - 3)


def said_by(job: int, task: int) -> bytes:
    """What it says."""
    draw = _draw(job, task)
    return NOISE[draw % 5000 :][: draw // 7 % SAID_MAX]


def values_of(job: int, task: int) -> tuple[bytes, ...]:
    """What stands in its line of the list."""
    return (b"%d of %d" % (task, job) + b"." * (_draw(job, task) // 11 % 60),)


class MapFacts:
    """What really happened to the tasks of one job.

    begun: the rank on which each began.  ended: the tasks that have ended by themselves.  drained: for each rank that
    gets no new tasks, the tasks that it had.  count: of the list that a client has left to the master; is_left: whether
    a client has left one.  is_killed: whether its tasks are ended from outside.
    """

    def __init__(self) -> None:
        self.begun: dict[int, int] = {}
        self.ended: set[int] = set()
        self.drained: dict[int, frozenset[int]] = {}
        self.count = 0
        self.is_left = self.is_killed = False

    def note_drained(self, feed: TaskFeed, ranks: Iterable[int | None]) -> None:
        """Before they are."""
        for rank in ranks:
            if rank is not None:
                self.drained.setdefault(rank, frozenset(feed._sites[rank].held))


class SimTask:
    """The process of one task."""

    def __init__(self, host: SimTaskHost, running: RunningTask) -> None:
        self._host = host
        self._running = running
        self._job = host.program.ticket.job
        self._number = running.order.number
        self._left = said_by(self._job, self._number)
        self._later(0.2)

    def _later(self, most_s: float) -> None:
        pause_s = self._host.program.slave.world.random.uniform(0.0, most_s)
        asyncio.get_running_loop().call_later(pause_s, self._go_on)

    def _go_on(self) -> None:
        if self._running.ending is not None or self._host.program.has_ended():
            return
        if not self._left:
            self._host.program.slave.world.map_facts[self._job].ended.add(self._number)
            self._end(code_of(self._job, self._number), 0)
            return
        if self._host._credit > 0:
            size = self._host.program.slave.world.random.randint(1, SAID_MAX)
            part, self._left = self._left[:size], self._left[size:]
            self._host._report(TaskSaid(self._number, STDOUT, part))
        self._later(0.1)

    def signal(self, signum: int) -> None:
        if signum == signal.SIGKILL and self._running.ending is None:
            self._end(0, signum)

    def _end(self, code: int, signum: int) -> None:
        self._running.ending = ProgramEnded(0, code, signum, False)
        self._host._task_ended(self._running)


class SimTaskHost(TaskHost):
    """The product's, for simulated tasks."""

    program: SimProgram
    rank: int

    def _spawn(self, running: RunningTask) -> None:
        if self.program.has_ended():
            return  # the lease has ended: the launcher begins nothing
        self.program.slave.world.task_begins(self.program.ticket.job, running.order, self.rank)
        running.process = SimTask(self, running)  # type: ignore[assignment]


class SimMapper(SimClient):
    """The client of `gproc map`."""

    def begin(self, live: LiveJob) -> None:
        random = self._world.random
        self.jobs[live.job.number] = live
        self._live = live
        self._job = live.job.number
        self._left = random.randint(0, TASKS_MAX)
        self._feed = TaskFeed(Setup(slots=random.randint(1, 3)), Template(ARGV))
        self._feed.begin(len(live.job.places))
        self._orders = memoryview(b"")
        self._is_soon = self._has_ended = False
        self._said: dict[int, bytearray] = {}
        self._done: set[int] = set()
        self._hand_out_soon()

    def _hand_out_soon(self) -> None:
        if not self._is_soon:
            self._is_soon = True
            asyncio.get_running_loop().call_later(self._world.random.uniform(0.0, 0.02), self._hand_out)

    def _hand_out(self) -> None:
        self._is_soon = False
        live, feed = self._live, self._feed
        if self.lost or self._has_ended or live.job.over:
            return
        while self._left and feed.wanted:
            task = feed.add(feed.last + 1, values_of(self._job, feed.last + 1))
            self._left -= 1
            assert task.number == feed.last
        if not self._left:
            feed.end_list()
        while (self._orders or self._next_orders()) and live.stdin_credit:
            part, self._orders = self._orders[: live.stdin_credit], self._orders[live.stdin_credit :]
            live.stdin(bytes(part))
        if feed.is_over and not self._orders and not self._next_orders():
            self._has_ended = True
            live.stdin(b"")

    def _next_orders(self) -> bool:
        self._orders = memoryview(self._feed.outgoing())
        return bool(self._orders)

    def write(self, frame: bytes) -> None:
        job, rank, stream, offset, data = frames.read_stdio(memoryview(frame)[frames.HEADER_BYTES :])
        got = self.got.get((rank, stream), 0)
        if offset != got or rank in self.outcomes:
            self._world.fail(f"job {job} rank {rank} stream {stream}: byte {offset} came after byte {got}, or its end")
        self.got[rank, stream] = offset + len(data)
        self._look(self._feed.output(rank, data))
        asyncio.get_running_loop().call_later(self._world.random.uniform(0.0, 0.03), self._take, job, stream, len(data))
        self._hand_out_soon()

    def send(self, message: messages.Message) -> None:
        super().send(message)
        if isinstance(message, NodesDrained):
            spec = NodeSpec.parse(message.nodes)
            ranks = [rank for rank, place in enumerate(self._live.job.places) if spec.selects(place)]
            self._world.map_facts[self._job].note_drained(self._feed, ranks)
            self._feed.drain(ranks)
        if isinstance(message, messages.Finished):
            self._look(self._feed.exited(message.rank, message.outcome))
            if len(self.outcomes) == len(self._live.job.places) and not self._live.job.killed:
                self._conclude()
        self._hand_out_soon()

    def _look(self, events: Any) -> None:
        for event in events:
            what = f"job {self._job} task {event.task.number}"
            if event.task.number in self._done:
                self._world.fail(f"{what}: something comes after its end: {event}")
            match event:
                case TaskOutput(task, _, data):
                    self._said.setdefault(task.number, bytearray()).extend(data)
                case TaskDone(task, rank, _, Returned(code), _):
                    self._done.add(task.number)
                    facts, said = self._world.map_facts[self._job], bytes(self._said.pop(task.number, b""))
                    is_right = task.number in facts.ended and facts.begun[task.number] == rank
                    is_right &= (code, said) == (code_of(self._job, task.number), said_by(self._job, task.number))
                    if not is_right:
                        self._world.fail(f"{what}: returned {code} on rank {rank}, and said {len(said)} bytes")
                case TaskDone(task, rank, _, Lost()):
                    self._done.add(task.number)
                    if isinstance(self.outcomes.get(rank, Returned(0)), Returned):
                        self._world.fail(f"{what}: lost, and its node {rank} is not")
                case TaskDone(task, _, _, outcome, _):
                    self._done.add(task.number)
                    if not self._live.job.killed and not self._world.may_end_outside(self._job, event.rank):
                        self._world.fail(f"{what}: {outcome}, which nothing here can cause")

    def _conclude(self) -> None:
        """All nodes have ended: no task may be forgotten."""
        begun = self._world.map_facts[self._job].begun
        if self._left + self._feed.last - len(self._done) and not self._feed.stopped:
            self._world.fail(f"job {self._job}: {len(self._done)} tasks have ended of {self._feed.last + self._left}")
        if forgotten := begun.keys() - self._done:
            self._world.fail(f"job {self._job}: tasks {sorted(forgotten)} have begun, and nobody says how they ended")
        has_returned = any(isinstance(outcome, Returned) for outcome in self.outcomes.values())
        if self._feed.stopped and has_returned and not self._world.map_facts[self._job].drained:
            self._world.fail(f"job {self._job}: {self._feed.stopped}, and a node has returned")
