"""All nodes at once: logins side by side, and each slave is started when its parent has joined."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from gproc.addresses import is_address
from gproc.errors import TrustError
from gproc.locales import Parent
from gproc.start.answers import NodeFailed
from gproc.start.commission import Commission
from gproc.start.giving import Parcels
from gproc.start.node import NodeStart, Result, Stage, remove_node, stop_node
from gproc.start.plan import Standing
from gproc.start.register import slave_name
from gproc.start.ssh import Closing, Ways
from gproc.start.supply import Supply
from gproc.trust.authority import Authority
from gproc.trust.carried import credentials_for


class Settings(msgspec.Struct, frozen=True):
    """master: the address at which nodes dial it; "" if it is the one from which ssh reached them.

    master_port: its port.  cmd_port: the slaves' own; 0: any free one.  parallel: logins at a time.
    """

    master: str
    master_port: int
    cmd_port: int
    bin_root: str
    parallel: int
    debug: int = 0


class Watcher(Protocol):
    """Is told of each node's way."""

    def moved(self, standing: Standing, stage: Stage) -> None: ...

    def done(self, standing: Standing, result: Result) -> None: ...


class Fleet:
    """connected: the nodes that are in the tree, by name: the address and port where their children dial."""

    def __init__(
        self, authority: Authority, parcels: Parcels, ways: Ways, settings: Settings,
        connected: Mapping[str, tuple[str, int]], watcher: Watcher,
    ) -> None:  # fmt: skip
        self._authority = authority
        self._parcels = parcels
        self._ways = ways
        self._settings = settings
        self._connected = connected
        self._watcher = watcher
        self._results: dict[str, asyncio.Future[Result]] = {}
        self._closing = Closing()

    async def start(self, standings: Sequence[Standing]) -> dict[str, Result]:
        """By host, when all are up or have failed."""
        handshakes = asyncio.Semaphore(self._settings.parallel)
        loop = asyncio.get_running_loop()
        self._results = {standing.name: loop.create_future() for standing in standings}
        supply = Supply(standings)
        try:
            async with asyncio.TaskGroup() as group:
                for standing in standings:
                    group.create_task(self._start(standing, handshakes, supply))
        finally:
            await supply.close()
            await self._closing.ended()
        return {standing.host: self._results[standing.name].result() for standing in standings}

    async def stop(
        self, standings: Sequence[Standing], judged: Callable[[Standing, Result], Awaitable[Result]] | None = None
    ) -> dict[str, Result]:
        """judged: makes the result that is told of what the host has said."""

        async def stop(each: Standing) -> Result:
            result = await stop_node(each, self._slave(each), self._ways, self._closing)
            return result if judged is None else await judged(each, result)

        return await self._each(standings, stop)

    async def remove(self, standings: Sequence[Standing]) -> dict[str, Result]:
        bin_root = self._settings.bin_root
        return await self._each(
            standings,
            lambda each: remove_node(each, self._slave(each), self._ways, self._closing, bin_root),
        )

    async def _each(
        self, standings: Sequence[Standing], act: Callable[[Standing], Awaitable[Result]]
    ) -> dict[str, Result]:
        """Do it on all hosts side by side.  By host."""
        handshakes = asyncio.Semaphore(self._settings.parallel)

        async def one(standing: Standing) -> Result:
            async with handshakes:
                self._watcher.moved(standing, Stage.CONNECTING)
                result = await act(standing)
            self._watcher.done(standing, result)
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {standing.host: group.create_task(one(standing)) for standing in standings}
        finally:
            await self._closing.ended()
        return {host: task.result() for host, task in tasks.items()}

    def _slave(self, standing: Standing) -> str:
        return slave_name(self._authority.cluster, standing.name)

    async def _start(self, standing: Standing, handshakes: asyncio.Semaphore, supply: Supply) -> None:
        node = NodeStart(
            standing, self._slave(standing), self._parcels, self._ways, supply, self._closing, self._watcher.moved
        )
        result = self._noted(await node.run(handshakes, self._commission))
        self._results[standing.name].set_result(result)
        self._watcher.done(standing, result)

    def _noted(self, result: Result) -> Result:
        """With a note if another host of this start has its address: that is one machine with two names, or two slaves
        with a port of their own could not be there."""
        for name, other in self._results.items():
            up = other.done() and other.result().stage is result.stage is Stage.UP
            if up and other.result().address == result.address != "" and other.result().port != result.port:
                note = f"it is the same machine as {name}, by its address {result.address}"
                return msgspec.structs.replace(result, reason="; ".join(filter(None, (result.reason, note))))
        return result

    async def _commission(self, standing: Standing, peer: str, own: str) -> Commission:
        """Raises: NodeFailed if the parent is not up, or the host was revoked."""
        settings = self._settings
        parent = await self._parent(standing, settings.master or own)
        address = standing.address or peer
        try:
            credentials = credentials_for(self._authority, standing.name, [address] if is_address(address) else [])
        except TrustError as error:
            raise NodeFailed(str(error)) from error
        return Commission(
            credentials=credentials, parent=parent, id=standing.place[-1], address=address, cmd_port=settings.cmd_port,
            bin_root=settings.bin_root, debug=settings.debug,
        )  # fmt: skip

    async def _parent(self, standing: Standing, master: str) -> Parent:
        name = standing.parent
        if not name:
            if not master:
                raise NodeFailed("at which address it can reach the master is not known: give it by --address")
            return Parent(master, self._settings.master_port, is_master=True)
        if name in self._results:
            result = await asyncio.shield(self._results[name])
            if result.stage is not Stage.UP:
                raise NodeFailed(f"its parent {name} is not up")
            return Parent(result.address or name, result.port, name=name)
        if name not in self._connected:
            raise NodeFailed(f"its parent {name} is not connected: start it first")
        address, port = self._connected[name]
        return Parent(address, port, name=name)


def connected_nodes(rows: Sequence[tuple[str, str]]) -> dict[str, tuple[str, int]]:
    """The nodes whose address can be dialled.  rows: each node's name and "host:port"."""
    found = {}
    for name, where in rows:
        host, _, port = where.rpartition(":")
        if port.isdigit():
            found[name] = (host.strip("[]"), int(port))
    return found


