"""The product's own slaves, without what touches the world: links, launcher, store, certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from gproc.errors import PeerError, TrustError
from gproc.link.connection import Receiver
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
from tests.simulator.programs import SimLauncher, nothing

if TYPE_CHECKING:
    from tests.simulator.world import World

LEASE_S: Final = 12.0
PORT: Final = 6666


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

    async def _open(self, where: str, channel: int, receiver: Receiver[Any], answered: Callable[[], None]) -> Any:
        return await self._world.network.open(self._process, where, channel, receiver, answered)


class SimSlave(Slave):
    def __init__(self, world: World, place: Place) -> None:
        self.world = world
        self.home = place
        self.process = Process(host_of(place))
        self.launcher = SimLauncher(self)
        self.task: asyncio.Task[None] | None = None
        self.refused: set[int] = set()
        """Jobs of which it has signed that they do not begin here."""
        self.last_session: bytes | None = None

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
