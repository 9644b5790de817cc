"""The tree as the master described it lately, and the connection to the master, which is made again if it was lost."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Set
from contextlib import suppress
from typing import Final

import gproc
from gproc.adapters.invoke.attributes import Invocation
from gproc.adapters.invoke.placement import NoSuchNode, nodes_meant, nodes_selected

PATIENCE_S: Final = 10.0
"""How long the master may take to describe the tree, and the resolver to find a name.  The master waits up to 1 s for
nodes that do not answer."""

AGE_S: Final = 1.0
"""How long one description of the tree serves: 200 jobs at once need it once.  A job that is sent to a node that has
left meanwhile fails, and says so."""


class MasterGone(gproc.GprocError):
    """The master does not answer."""


class KnownTree:
    """Use it from one task at a time."""

    def __init__(self, socket: str | None = None) -> None:
        """socket: of the master, as of `gproc.connect`."""
        self._socket = socket
        self._cluster: gproc.AsyncCluster | None = None
        self._info: gproc.TreeInfo | None = None
        self._described_s = 0.0

    async def cluster(self) -> gproc.AsyncCluster:
        """A connection that was not lost so far.  Raises: NoMaster, TrustError, UsageError."""
        if self._cluster is None or self._cluster.closed:
            self._info = None
            self._cluster = await gproc.connect_async(self._socket)
        return self._cluster

    async def nodes_for(self, asked: Invocation) -> list[gproc.NodeStatus]:
        """The nodes on which a job may run; there is at least one.  Raises: NoSuchNode, GprocError."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._nodes_for(asked)
        except TimeoutError:
            raise MasterGone(f"the master did not answer within {PATIENCE_S:g} s") from None

    def forget(self) -> None:
        """Ask the master again before the next job."""
        self._info = None

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.close()

    async def _nodes_for(self, asked: Invocation) -> list[gproc.NodeStatus]:
        info = await self._recent()
        try:
            return _nodes_in(info, asked)
        except NoSuchNode:
            addresses = await _addresses_of(asked.hostname) if asked.nodes is None else set()
            return _nodes_in(await self._fresh(), asked, addresses)

    async def _recent(self) -> gproc.TreeInfo:
        await self.cluster()
        if self._info is not None and time.monotonic() - self._described_s < AGE_S:
            return self._info
        return await self._fresh()

    async def _fresh(self) -> gproc.TreeInfo:
        """Ask the master.  If the connection turns out to be lost, ask once more over a new one."""
        try:
            info = await (await self.cluster()).info()
        except gproc.LinkLost:
            info = await (await self.cluster()).info()
        self._info, self._described_s = info, time.monotonic()
        return info


def _nodes_in(info: gproc.TreeInfo, asked: Invocation, addresses: Set[str] = frozenset()) -> list[gproc.NodeStatus]:
    if asked.nodes is not None:
        return nodes_selected(asked.nodes, info)
    return nodes_meant(asked.hostname, asked.port, info, addresses)


async def _addresses_of(hostname: str) -> set[str]:
    """The addresses of a host; none if the resolver does not know it."""
    with suppress(OSError, UnicodeError):
        found = await asyncio.get_running_loop().getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
        return {str(address[0]) for *_, address in found}
    return set()
