"""Connections between simulated processes: each direction keeps its order, stalls, is cut, or ends half-way."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from gproc.errors import LinkLost, PeerError
from gproc.link.connection import HOLD_S
from gproc.trust.names import ClusterId
from gproc.trust.tls import PeerName
from gproc.wire import frames
from tests.simulator.clock import Due, Process, VirtualLoop

UNACKNOWLEDGED_S: Final = 2.0
"""When the kernel ends a connection whose peer cannot be reached (`--link-timeout`)."""

SILENCE_S: Final = 4.0
"""When heartbeats end one whose peer is frozen."""

CLUSTER: Final = ClusterId("c")

_END: Final = object()


class _Way:
    """One direction of a connection."""

    def __init__(self, network: Network, begin: SimLink, end: SimLink) -> None:
        self._network = network
        self.begin, self.end = begin, end
        self.stalled_until_s = 0.0
        self._queue: deque[tuple[float, object]] = deque()
        self._timer: Due | None = None
        self._last_s = 0.0

    def put(self, item: object) -> None:
        self._last_s = max(self._last_s, self._network.loop.now_s + self._network.latency_s())
        self._queue.append((self._last_s, item))
        if self._timer is None:
            self._arm()

    def cut_off(self) -> None:
        """Its sender is gone: part of what is on the way never arrives."""
        keep = self._network.random.randint(0, len(self._queue))
        while len(self._queue) > keep:
            self._queue.pop()
        self.put(_END)

    def _arm(self) -> None:
        due_s = max(self._queue[0][0], self.stalled_until_s)
        loop = self._network.loop
        self._timer = loop.call_at(max(due_s, loop.now_s), self.pump, context=self._network.context)

    def pump(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now_s, end = self._network.loop.now_s, self.end
        while self._queue:
            if end.process.dead:
                self._queue.clear()
                return
            if end.process.frozen or self._network.is_cut(self.begin.process.host, end.process.host):
                return  # `Network` pumps when that is over
            if max(self._queue[0][0], self.stalled_until_s) > now_s:
                self._arm()
                return
            if end.process.context.run(end.is_held):
                again_s = now_s + HOLD_S
                self._timer = self._network.loop.call_at(again_s, self.pump, context=self._network.context)
                return
            _, item = self._queue.popleft()
            end.process.context.run(end.take, item)


class SimLink:
    """One end of a connection, as `gproc.link.connection.Link`."""

    def __init__(self, network: Network, process: Process, channel: int, receiver: Any) -> None:
        self.process = process
        self.receiver = receiver
        self.channel = channel
        self.peer = "?"
        self.lost = self.ending = self.congested = self.waiting = False
        self.connected = True
        self.heard_s = self.written_s = 0.0
        self.gone: asyncio.Future[None] = network.loop.create_future()
        self.out: _Way
        self._network = network
        self._why: str | None = None
        self._may_go_on: Callable[[], bool] = lambda: True

    @property
    def unsent_bytes(self) -> int:
        return 0

    def hold(self, may_go_on: Callable[[], bool]) -> None:
        self._may_go_on = may_go_on

    def is_held(self) -> bool:
        return not self._may_go_on()

    def send(self, message: object) -> None:
        self.write(message)

    def write(self, frame: object) -> None:
        if not self.lost and self._why is None and not self.process.dead:
            self.out.put(frame)

    async def drain(self) -> None:
        pass

    def allow_slow_reader(self) -> None:
        pass

    def extra(self, name: str) -> object:
        return None

    def close(self) -> None:
        if self._why is None:
            self._why = "closed"
        if not self.lost and not self.process.dead:
            self.out.put(_END)
            self._network.loop.call_soon(self._lose, context=self.process.context)

    def end(self, reason: str) -> None:
        self.ending = True
        self._why = reason
        self.close()

    def abort(self, reason: str) -> None:
        if self._why is None:
            self._why = reason
        if not self.lost and not self.process.dead:
            self.out.cut_off()
            self._network.loop.call_soon(self._lose, context=self.process.context)

    def take(self, item: object) -> None:
        if self.lost or self._why is not None:
            return
        try:
            if item is _END:
                self._why = "closed the connection"
                self.out.cut_off()
                self._lose()
            elif isinstance(item, bytes):
                payload = memoryview(item)[frames.HEADER_BYTES :]
                if item[4] == frames.KIND_STDIO:
                    self.receiver.on_stdio(self, *frames.read_stdio(payload))
                else:
                    self.receiver.on_input(self, *frames.read_input(payload))
            else:
                self.receiver.on_message(self, item)
        except PeerError as error:
            self._network.complaints.append(f"{self.process.host} of {self.peer}: {error}")
            self.abort(str(error))

    def _lose(self) -> None:
        if self.lost:
            return
        self.lost = True
        self._network.forget(self)
        if not self.gone.done():
            self.gone.set_result(None)
        self.receiver.on_lost(self, self._why or "closed the connection")


Accept = Callable[[SimLink, PeerName], None]


class Network:
    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self.context = Process("network").context
        self.listening: dict[str, tuple[Process, Accept]] = {}
        self.links: dict[SimLink, None] = {}
        self.complaints: list[str] = []
        self._cut: dict[tuple[str, str], int] = {}
        self._down: dict[str, int] = {}

    def latency_s(self) -> float:
        return 0.0005 + 0.004 * self.random.random()

    def is_cut(self, begin: str, end: str) -> bool:
        return bool(self._cut.get((begin, end)) or self._down.get(begin) or self._down.get(end))

    async def open(
        self, process: Process, where: str, channel: int, receiver: Any, answered: Callable[[], None] = lambda: None
    ) -> SimLink:
        """Raises: LinkLost."""
        host = where.rpartition(":")[0]
        await asyncio.sleep(self.latency_s())
        if self.is_cut(process.host, host) or self.is_cut(host, process.host):
            await asyncio.sleep(UNACKNOWLEDGED_S)
            raise LinkLost("no answer")
        answered()
        if host not in self.listening or self.listening[host][0].dead:
            raise LinkLost("connection refused")
        other, accept = self.listening[host]
        here, there = SimLink(self, process, channel, receiver), SimLink(self, other, channel, None)
        here.peer = where
        here.out, there.out = _Way(self, here, there), _Way(self, there, here)
        self.links |= {here: None, there: None}
        other.context.run(accept, there, PeerName(CLUSTER, "node", process.host, (), ()))
        return here

    def forget(self, link: SimLink) -> None:
        self.links.pop(link, None)

    def links_of(self, process: Process) -> list[SimLink]:
        return [link for link in self.links if link.process is process]

    def kill(self, process: Process) -> None:
        process.dead = True
        for link in self.links_of(process):
            link.out.cut_off()
            link.lost = True
            self.forget(link)

    def freeze(self, process: Process, seconds: float) -> None:
        process.frozen = True
        self.schedule(seconds, self.thaw, process)
        self.schedule(SILENCE_S, self._notice_silence, process)

    def thaw(self, process: Process) -> None:
        if process.frozen and not process.dead:
            self.loop.thaw(process)
            self._pump_all()

    def _notice_silence(self, process: Process) -> None:
        if process.frozen and not process.dead:
            for link in list(self.links):
                if link.out.end.process is process:
                    link.process.context.run(link.abort, "sent nothing for 4 s")

    def cut(self, pairs: list[tuple[str, str]], seconds: float) -> None:
        for pair in pairs:
            self._cut[pair] = self._cut.get(pair, 0) + 1
        self.schedule(seconds, self._heal, pairs)
        self.schedule(UNACKNOWLEDGED_S, self._notice_cut)

    def take_down(self, host: str, seconds: float) -> None:
        self._down[host] = self._down.get(host, 0) + 1
        self.schedule(seconds, self._bring_up, host)
        self.schedule(UNACKNOWLEDGED_S, self._notice_cut)

    def _heal(self, pairs: list[tuple[str, str]]) -> None:
        for pair in pairs:
            self._cut[pair] -= 1
        self._pump_all()

    def _bring_up(self, host: str) -> None:
        self._down[host] -= 1
        self._pump_all()

    def _notice_cut(self) -> None:
        """Data that goes one way is acknowledged the other way, so both ends notice a cut of either way."""
        for link in list(self.links):
            here, there = link.process.host, link.out.end.process.host
            if (self.is_cut(here, there) or self.is_cut(there, here)) and not link.process.frozen:
                link.process.context.run(link.abort, "data was not acknowledged for 2 s")

    def _pump_all(self) -> None:
        for link in list(self.links):
            link.out.pump()
            link.out.end.out.pump()

    def schedule(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        self.loop.call_later(seconds, what, *args, context=self.context)

    def connections(self) -> Iterator[SimLink]:
        return iter(list(self.links))
