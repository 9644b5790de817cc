"""What `gproc web` and `gproc top` ask: the master, over one connection for all, and jobs, over one for each output."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from gproc.client.aio import AsyncCluster, connect_async
from gproc.client.events import Event
from gproc.client.known import JobInfo
from gproc.client.tree import TreeInfo
from gproc.errors import GprocError

FRESH_S: Final = 1.0
"""An answer of the master is good for this long, whoever asks."""

ENDED_FRESH_S: Final = 30.0
"""The master reads ended jobs from its records, thousands of them: so they are asked for when a job has ended, or the
last answer is this old."""

FOLLOWED_MAX: Final = 64
"""Jobs whose output is followed at once, by all who look."""


class Look(msgspec.Struct, frozen=True):
    """What the master said.  tree: None if it could not be asked, because of `trouble`.

    rates: by job, bytes per second of its transfer since the look before; a transfer that was not seen there has none.
    """

    tree: TreeInfo | None
    jobs: tuple[JobInfo, ...] = ()
    trouble: str = ""
    rates: Mapping[int, float] = MappingProxyType({})


class Watching:
    """One for all who look.  socket: the master's; None: as `gproc.connect` finds it."""

    def __init__(self, socket: str | None) -> None:
        self._socket = socket
        self._cluster: AsyncCluster | None = None
        self._last: Look | None = None
        self._at_s = self._asked_s = 0.0
        self._ended: dict[int, JobInfo] = {}
        self._ended_at_s = -ENDED_FRESH_S
        self._running: frozenset[int] = frozenset()
        self._asking = asyncio.Lock()
        self._followed = 0

    async def look(self) -> Look:
        """The tree and the jobs as they are, or were a second ago."""
        async with self._asking:
            if self._last is None or time.monotonic() - self._at_s >= FRESH_S:
                before, asked_s = self._last, time.monotonic()
                fresh = await self._ask()
                self._last = msgspec.structs.replace(fresh, rates=rates_of(before, fresh, asked_s - self._asked_s))
                self._asked_s, self._at_s = asked_s, time.monotonic()
            return self._last

    async def kill(self, job: str, signum: int) -> None:
        """Raises: GprocError."""
        await (await self._connected()).kill(job, signum)

    async def follow(self, job: str, nodes: str = "") -> AsyncIterator[Event]:
        """What a job writes, from the first byte that is kept, until it ends.

        The job goes on if nobody follows it any more.  Raises: GprocError.
        """
        if self._followed >= FOLLOWED_MAX:
            raise GprocError(f"the output of {FOLLOWED_MAX} jobs is followed already: look at fewer at once")
        self._followed += 1
        try:
            async with connect_async(self._socket) as cluster:
                async for event in cluster.logs(job, nodes=nodes, follow=True):
                    yield event
        finally:
            self._followed -= 1

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.close()

    async def _ask(self) -> Look:
        try:
            cluster = await self._connected()
            tree, running = await asyncio.gather(cluster.info(), cluster.jobs())
            numbers = frozenset(job.number for job in running)
            if self._running - numbers or time.monotonic() - self._ended_at_s >= ENDED_FRESH_S:
                self._ended = {job.number: job for job in await cluster.jobs(ended=True)}
                self._ended_at_s = time.monotonic()
            self._running = numbers
        except GprocError as error:
            return Look(None, trouble=str(error))
        return Look(tree, tuple((self._ended | {job.number: job for job in running}).values()))

    async def _connected(self) -> AsyncCluster:
        if self._cluster is None or self._cluster.closed:
            self._cluster = await connect_async(self._socket)
        return self._cluster


def rates_of(before: Look | None, after: Look, seconds: float) -> dict[int, float]:
    """By job, bytes per second of what is on its way, between two looks.  seconds: between them."""
    earlier = {job.number: job.transfer.bytes for job in before.jobs if job.transfer} if before is not None else {}
    return {
        job.number: max(0.0, (job.transfer.bytes - earlier[job.number]) / seconds)
        for job in after.jobs if job.transfer and job.number in earlier and seconds > 0
    }  # fmt: skip
