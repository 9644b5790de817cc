"""What programs do on simulated nodes: they say and read what a formula gives, and end alone or from outside."""

from __future__ import annotations

import asyncio
import signal
import zlib
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from gproc.errors import TrustError
from gproc.launch.protocol import ProgramEnded, SpawnFailed
from gproc.node.program import Program, State
from gproc.nodespec import Place
from gproc.wire.messages import Run

if TYPE_CHECKING:
    from tests.simulator.nodes import SimSlave

KEPT_BYTES: Final = 4096
"""Sizes are 1/256 of the product's, so that short outputs fill every window."""

NOISE: Final = bytes(zlib.crc32(number.to_bytes(4, "big")) & 255 for number in range(1 << 16)) * 2

LARGE: Final = 6000
"""Bytes of the longest output or input: 1.5 times what a node keeps."""

STOPS: Final = 0.2
"""The share of the programs with a standard input that do not read all of it."""


class Saying:
    """is_alike: all ranks of most jobs say the same, so that relays send references and announcements."""

    is_alike = False


def output_of(job: int, rank: int, stream: int, offset: int, size: int) -> bytes:
    """What a program says at this place of its output."""
    rank = 0 if Saying.is_alike and job % 4 else rank
    begin = (job * 7919 + rank * 10007 + stream * 131 + offset) % (1 << 16)
    return NOISE[begin : begin + size]


def input_of(job: int, offset: int, size: int) -> bytes:
    """What stands at this place of a job's standard input."""
    return output_of(job + 3, 0, 0, offset, size)


def nothing(*_: object, **__: object) -> None:
    pass


class SimLauncher:
    """abilities, python_because: as of `Launcher`.  Programs end with their lease, also if the slave does nothing."""

    abilities = SimpleNamespace(reason="", view=True)
    python_because = ""

    def __init__(self, slave: SimSlave) -> None:
        self.slave = slave
        self.ends_s = 0.0
        self.truths: list[Truth] = []

    def prolong(self, ends_s: float) -> None:
        """ends_s: by the clock of this machine."""
        self.ends_s = ends_s = ends_s - self.slave.world.clocks.ahead_s(self.slave.process.host)
        for truth in self.truths:
            truth.prolong(ends_s, self.slave.world.loop.now_s)

    def attach(self, loop: object) -> None:
        pass

    def close(self) -> None:
        pass


class Truth:
    """What really happens to one rank.

    returned, killed: its program has ended by itself, or from outside.  lease_ends_s: when it ends at the latest.
    read: bytes of its standard input that its program has read.  at_end: whether it has read the end too.
    signals: how many signals that end nothing it has been sent.
    """

    def __init__(self, slave: SimSlave, rank: int, sizes: dict[int, int], code: int) -> None:
        self.slave = slave
        self.rank = rank
        self.sizes = sizes
        self.code = code
        self.returned = False
        self.killed = False
        self.read = 0
        self.at_end = False
        self.signals = 0
        self.lease_ends_s = slave.launcher.ends_s

    def prolong(self, ends_s: float, now_s: float) -> None:
        """A lease that has ended once has ended the program: no later lease brings it back."""
        if now_s < self.lease_ends_s:
            self.lease_ends_s = ends_s

    def may_be_lost(self, now_s: float) -> bool:
        """Whether its node has died or said goodbye, or its lease has ended."""
        return self.killed or self.slave.process.dead or now_s >= self.lease_ends_s

    def lives(self, now_s: float) -> bool:
        return not self.returned and not self.may_be_lost(now_s)

    def was_ended(self, now_s: float) -> bool:
        return not self.returned and self.may_be_lost(now_s)


class SimProgram(Program):
    """The product's, with taps instead of pipes."""

    slave: SimSlave
    _pipe: _InputTap

    async def _prepare(self, run: Run) -> None:
        try:
            await self._admit()
        except TrustError as error:
            raise AssertionError("the simulated policy allows everything") from error
        world = self.slave.world
        await asyncio.sleep(world.random.choice((0.0, 0.01, 0.3)))  # its bundle is fetched
        self.truth = world.begins(self.slave, run.job, self._rank, run)
        self.state = State.STARTING
        if self.ticket.request.action == "map":
            self._host(run)
            return
        self._process = self  # type: ignore[assignment]
        self._left = dict(self.truth.sizes)
        self._room = dict.fromkeys(self._left, self._keep_bytes)
        for stream in self._left:
            self._outputs[stream] = _Tap(self, stream)  # type: ignore[assignment]
            self.write_later(stream)
        if self.ticket.request.stdin:
            early, self._early = self._early, []
            self._pipe = self._input = _InputTap(self)  # type: ignore[assignment]
            self._pipe.write(*early)
        self._ends_in(world.random.uniform(0.0, 1.0))

    def _host(self, run: Run) -> None:
        """As `Program._host_tasks`."""
        from tests.simulator.tasks import SimTaskHost  # it is above this

        self.truth.sizes = {1: 0, 2: 0}
        host = SimTaskHost(
            self._services, self.ticket, None, (), self._rank, keep_bytes=self._keep_bytes,
            say=self._reports, consumed=self.consumed, ended=self._tasks_ended,
        )  # fmt: skip
        host.program, host.rank = self, self._rank
        self._tasks = self._process = self._input = self._outputs[1] = host
        early, self._early = self._early, []
        host.write(*early)

    def _reports(self, data: bytes) -> None:
        if not self.has_ended():
            self.truth.sizes[1] += len(data)
            self._said(1, data)

    def _tasks_ended(self, ending: ProgramEnded | SpawnFailed) -> None:
        if self.has_ended():
            return
        assert isinstance(ending, ProgramEnded), ending
        self.truth.returned, self.truth.code = not ending.signal, ending.code
        self.truth.killed |= bool(ending.signal)
        self._ended(ending)

    def _ends_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._exits)

    def _exits(self) -> None:
        """It ends when it has said everything, or by its lease."""
        if self.state is State.DONE or self._outcome is not None:
            return
        if self.has_ended():
            return
        if any(self._left.values()) or (self.ticket.request.stdin and self._pipe.is_read):
            self._ends_in(0.05)
            return
        self.truth.returned = True
        self._ended(ProgramEnded(0, self.truth.code, 0, False))

    def has_ended(self) -> bool:
        """Whether its lease has ended it.  If so, the slave hears it now."""
        if not self.truth.was_ended(self.slave.world.loop.now_s):
            return False
        if self._outcome is None:
            self._dies()
        return True

    def consumed(self, size: int) -> None:
        """It has read so much, or never will."""
        self._relayed.credit_from_downstream(self, size)

    def signal(self, signum: int) -> None:
        """As the launcher passes it on."""
        if signum == signal.SIGKILL and self._outcome is None:
            self.truth.killed = True
            self._dies()
        elif signum == signal.SIGUSR1 and self._process is not None:
            self.slave.world.signalled(self.ticket.job, self.truth)

    def _dies(self) -> None:
        self._ended(ProgramEnded(0, 0, signal.SIGKILL, False))
        for stream in list(self._outputs):
            self._said(stream, b"")

    def write_later(self, stream: int) -> None:
        pause_s = self.slave.world.random.uniform(0.0, 0.15)
        asyncio.get_running_loop().call_later(pause_s, self._write, stream)

    def _write(self, stream: int) -> None:
        if stream not in self._outputs or self.has_ended():
            return
        random, left = self.slave.world.random, self._left[stream]
        size = min(left, self._room[stream], random.randint(1, 900))
        if size:
            offset = self.truth.sizes[stream] - left
            self._left[stream] -= size
            self._room[stream] -= size
            self._said(stream, output_of(self.ticket.job, self._rank, stream, offset, size))
        if not self._left[stream]:
            self._said(stream, b"")
        elif self._room[stream]:
            self.write_later(stream)

    def freed(self, stream: int, size: int) -> None:
        if self._room[stream] == 0:
            self.write_later(stream)
        self._room[stream] += size


class _Tap:
    """As `OutputPipe`: credit lets the program write."""

    def __init__(self, program: SimProgram, stream: int) -> None:
        self._program = program
        self._stream = stream

    def credit(self, size: int) -> None:
        self._program.freed(self._stream, size)

    def close(self) -> None:
        pass


class _InputTap:
    """As `InputPipe`.  Its program reads slowly, and compares.  Some programs stop reading before the end."""

    def __init__(self, program: SimProgram) -> None:
        self._program = program
        self._queue: deque[bytes] = deque()
        self._reading = False
        random = program.slave.world.random
        self._stops_at = random.randint(0, LARGE) if random.random() < STOPS else 1 << 62
        self.is_read = True
        """Whether its program will read more."""

    def write(self, *pieces: bytes) -> None:
        if not self.is_read:
            self._program.consumed(sum(map(len, pieces)))
            return
        self._queue.extend(pieces)
        self._read_later()

    def close(self) -> None:
        self.is_read = False
        waiting = sum(map(len, self._queue))
        self._queue.clear()
        self._program.consumed(waiting)

    def _read_later(self) -> None:
        if self._queue and not self._reading:
            self._reading = True
            pause_s = self._program.slave.world.random.uniform(0.0, 0.1)
            asyncio.get_running_loop().call_later(pause_s, self._read)

    def _read(self) -> None:
        self._reading = False
        if not self._queue or self._program.has_ended():
            return
        data, truth = self._queue.popleft(), self._program.truth
        self._program.slave.world.reads(self._program.ticket.job, truth, data)
        if truth.at_end or truth.read >= self._stops_at:
            self.close()
        self._program.consumed(len(data))
        self._read_later()


def make_program(warden: object, services: Any, relayed: Any, ticket: Any, words: Any, place: Place) -> Program:
    """Instead of `warded_program`: every job is allowed."""

    async def admit() -> None:
        pass

    program = SimProgram(services, relayed, ticket, words, admit, nothing)
    program.slave = services._launcher.slave
    return program
