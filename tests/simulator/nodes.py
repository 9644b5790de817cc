"""The product's own master, slaves and programs, without what touches the world: links, launcher, pipes, disk."""

from __future__ import annotations

import asyncio
import signal
import zlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from gproc.errors import PeerError, TrustError
from gproc.launch.protocol import ProgramEnded
from gproc.link.connection import Receiver
from gproc.node.program import Program, State
from gproc.nodespec import Place
from gproc.relay.belonging import Belonging, JoinRefused
from gproc.relay.hub import Hub
from gproc.relay.parent import Dialer
from gproc.slave import Slave
from gproc.trust.signing import TrustedKeys
from gproc.trust.tls import ExpectedParent, PeerName
from gproc.wire import messages
from gproc.wire.endings import RankEnded
from gproc.wire.messages import Run
from gproc.wire.proofs import KeyProof
from tests.simulator.clock import Process
from tests.simulator.network import SimLink

if TYPE_CHECKING:
    from tests.simulator.world import World

LEASE_S: Final = 12.0
PORT: Final = 6666
KEPT_BYTES: Final = 4096
"""Sizes are 1/256 of the product's, so that short outputs fill every window."""

NOISE: Final = bytes(zlib.crc32(number.to_bytes(4, "big")) & 255 for number in range(1 << 16)) * 2


class Saying:
    """is_alike: all ranks of most jobs say the same, so that relays send references."""

    is_alike = False


def output_of(job: int, rank: int, stream: int, offset: int, size: int) -> bytes:
    """What a program says there."""
    rank = 0 if Saying.is_alike and job % 4 else rank
    begin = (job * 7919 + rank * 10007 + stream * 131 + offset) % (1 << 16)
    return NOISE[begin : begin + size]


def host_of(place: Place) -> str:
    return ".".join(map(str, ("10", *place, *[0] * (3 - len(place)))))


def endpoint_of(name: str, keys: TrustedKeys) -> Any:
    """Its certificates are as good as any: TLS is not simulated."""
    vetting = SimpleNamespace(
        signed=None, number=0, heard=lambda date_s: None, objection=lambda peer: "", revoked=lambda *_: "",
    )  # fmt: skip
    identity = SimpleNamespace(name=name)
    return SimpleNamespace(
        identity=identity, keys=keys, vetting=vetting, succession=None, retirement=None, shown=identity,
        server=None, client=None, refresh=lambda: None, show_other=lambda: None, revoked=lambda: "",
    )  # fmt: skip


def nothing(*_: object, **__: object) -> None:
    pass


class Quiet:
    """Heartbeats, timers of certificates and the like: the simulated network does what they are for."""

    def __init__(self, *_: object) -> None:
        pass

    start = stop = quicken = close = ended = attach = staticmethod(nothing)

    def heard(self, *_: object) -> str:
        return ""


class _Newcomer(Receiver[Any]):
    """As `Children._greet`: the first message of a connection says whose it is."""

    def __init__(self, world: World, hub: Hub, peer: PeerName) -> None:
        self._world = world
        self._hub = hub
        self._peer = peer

    def on_message(self, link: Any, message: Any) -> None:
        introduce = self._hub.children._let_in(link, message, self._peer, self._peer.name)
        try:
            introduce.send(None)
        except StopIteration:
            pass
        except JoinRefused as error:
            link.send(messages.RefuseJoin(str(error), error.final))
            link.close()
        except (PeerError, TrustError) as error:
            link.abort(str(error))


def listen(world: World, hub: Hub, process: Process) -> None:
    def accept(link: SimLink, peer: PeerName) -> None:
        link.receiver = _Newcomer(world, hub, peer)

    hub.children.port = PORT
    world.network.listening[process.host] = process, accept


class SimDialer(Dialer):
    def __init__(self, world: World, process: Process, parent: str, endpoint: Any) -> None:
        super().__init__(endpoint, ExpectedParent(parent, None, is_master=False), PORT, 2.0)
        self._world = world
        self._process = process

    async def _open(self, where: str, channel: int, receiver: Receiver[Any]) -> Any:
        return await self._world.network.open(self._process, where, channel, receiver)


class SimLauncher:
    """abilities, python_because: as of `Launcher`.  Programs end with their lease, whatever the slave does."""

    abilities = SimpleNamespace(reason="", view=True)
    python_because = ""

    def __init__(self, slave: SimSlave) -> None:
        self.slave = slave
        self.ends_s = 0.0
        self.truths: list[Truth] = []

    def prolong(self, ends_s: float) -> None:
        self.ends_s = ends_s
        for truth in self.truths:
            truth.prolong(ends_s, self.slave.world.loop.now_s)

    def attach(self, loop: object) -> None:
        pass

    def close(self) -> None:
        pass


class Truth:
    """What really happens to one rank.  why: how its program was ended from outside; "": it was not."""

    def __init__(self, slave: SimSlave, rank: int, sizes: dict[int, int], code: int) -> None:
        self.slave = slave
        self.rank = rank
        self.sizes = sizes
        self.code = code
        self.returned = False
        self.killed = False
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
    """The product's, with output of its own instead of pipes."""

    slave: SimSlave

    async def _prepare(self, run: Run) -> None:
        try:
            await self._admit()
        except TrustError as error:
            raise AssertionError("the simulated policy allows everything") from error
        world = self.slave.world
        await asyncio.sleep(world.random.choice((0.0, 0.01, 0.3)))  # its bundle is fetched
        self.truth = world.begins(self.slave, run.job, self._rank, run)
        self.state = State.STARTING
        self._process = self  # type: ignore[assignment]
        self._left = dict(self.truth.sizes)
        self._room = dict.fromkeys(self._left, KEPT_BYTES)
        for stream in self._left:
            self._outputs[stream] = _Tap(self, stream)  # type: ignore[assignment]
            self.write_later(stream)
        self._ends_in(world.random.uniform(0.0, 1.0))

    def _ends_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._exits)

    def _exits(self) -> None:
        """It ends when it has said everything, or by its lease."""
        if self.state is State.DONE or self._outcome is not None:
            return
        if self._is_ended():
            return
        if any(self._left.values()):
            self._ends_in(0.05)
            return
        self.truth.returned = True
        self._ended(ProgramEnded(0, self.truth.code, 0, False))

    def _is_ended(self) -> bool:
        """Whether its lease has ended it.  If so, the slave hears it now."""
        if not self.truth.was_ended(self.slave.world.loop.now_s):
            return False
        if self._outcome is None:
            self._dies()
        return True

    def signal(self, signum: int) -> None:
        """As the launcher passes it on."""
        if signum == signal.SIGKILL and self._outcome is None:
            self.truth.killed = True
            self._dies()

    def _dies(self) -> None:
        self._ended(ProgramEnded(0, 0, signal.SIGKILL, False))
        for stream in list(self._outputs):
            self._said(stream, b"")

    def write_later(self, stream: int) -> None:
        pause_s = self.slave.world.random.uniform(0.0, 0.15)
        asyncio.get_running_loop().call_later(pause_s, self._write, stream)

    def _write(self, stream: int) -> None:
        if stream not in self._outputs or self._is_ended():
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


class SimSlave(Slave):
    def __init__(self, world: World, place: Place) -> None:
        self.world = world
        self.home = place
        self.process = Process(host_of(place))
        self.launcher = SimLauncher(self)
        self.task: asyncio.Task[None] | None = None
        self.refused: set[int] = set()
        """Jobs of which it has signed that they do not begin here."""

    def begin(self) -> None:
        """Call this in the context of its process."""
        host, parent = self.process.host, host_of(Place(self.home[:-1]))
        endpoint = endpoint_of(host, self.world.keys())
        dialer = SimDialer(self.world, self.process, parent, endpoint)
        super().__init__(
            endpoint=endpoint, dialer=dialer, store=SimpleNamespace(), launcher=self.launcher, planner=None,  # type: ignore[arg-type]
            belonging=Belonging(host, False, lambda name: None), id=self.home[-1], address=host, link_timeout_s=2.0,
            warden=None,  # type: ignore[arg-type]
        )  # fmt: skip
        self.heartbeats = Quiet()  # type: ignore[assignment]
        self._certificate = Quiet()  # type: ignore[assignment]
        self._uplink.membership._jitter.seed(self.world.random.getrandbits(32))
        voice = self._voice
        voice.proof = lambda identity: KeyProof(b"", voice._key.public, b"")  # type: ignore[method-assign]
        refused = voice.refused

        def refuse(session: bytes | None, run: Run, reason: str) -> RankEnded:
            self.refused.add(run.job)
            return refused(session, run, reason)

        voice.refused = refuse  # type: ignore[method-assign]
        listen(self.world, self, self.process)
        self.task = asyncio.create_task(self._whole_run())

    async def _whole_run(self) -> None:
        try:
            await self.run()
        finally:
            if not self.process.dead:
                self.world.network.kill(self.process)

    @property
    def is_joined(self) -> bool:
        return self._uplink.control is not None

    def leftovers(self) -> str:
        """What it keeps although no job runs."""
        kept: dict[str, dict[int, Any]] = {"relayed": self.relayed_jobs, "admitted": self._admitted}
        found = [f"{name}: {sorted(table)}" for name, table in kept.items() if table]
        return "; ".join(found)


def make_program(warden: object, services: Any, relayed: Any, ticket: Any, words: Any, place: Place) -> Program:
    """Instead of `warded_program`: every job is allowed."""

    async def admit() -> None:
        pass

    program = SimProgram(services, relayed, ticket, words, admit, nothing)
    program.slave = services._launcher.slave
    return program
