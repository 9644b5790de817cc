"""What `gproc web` and `gproc top` ask: the master, over one connection for all, and jobs, over one for each output."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from gproc.client.aio import AsyncCluster, connect_async
from gproc.client.events import Event
from gproc.client.known import JobInfo
from gproc.client.silence import HELLO_S
from gproc.client.tree import TreeInfo
from gproc.errors import GprocError, MasterSilent

FRESH_S: Final = 1.0
"""Seconds for which an answer of the master is used again, for all that ask."""

ENDED_FRESH_S: Final = 30.0
"""The master reads ended jobs from its records, thousands of them: so they are asked for when a job has ended, or the
last answer is this old."""

FOLLOWED_MAX: Final = 64
"""The most jobs whose output is followed at once, for all that look."""


class Look(msgspec.Struct, frozen=True):
    """What the master said.  tree: None if it could not be asked, because of `trouble`.

    rates: by job, bytes per second of its transfer since the look before; a transfer that was not seen there has none.
    """

    tree: TreeInfo | None
    jobs: tuple[JobInfo, ...] = ()
    trouble: str = ""
    rates: Mapping[int, float] = MappingProxyType({})


class Watching:
    """One for all that look.  socket: the master's; None: as `gproc.connect` finds it.

    log: is told when the master does not answer any more, and when it answers again.
    """

    def __init__(self, socket: str | None, log: Callable[[str], None] = lambda _: None) -> None:
        self._socket = socket
        self._log = log
        self._cluster: AsyncCluster | None = None
        self._last: Look | None = None
        self._at_s = self._asked_s = 0.0
        self._answered_s: float | None = None
        self._ended: dict[int, JobInfo] = {}
        self._ended_at_s = -ENDED_FRESH_S
        self._running: frozenset[int] = frozenset()
        self._asking: asyncio.Task[None] | None = None
        self._followed = 0

    async def look(self) -> Look:
        """The tree and the jobs as they are, or were a second ago.

        A master that is silent is given HELLO_S.  From then on this says so at once, until the master answers again.
        """
        if self._last is None or time.monotonic() - self._at_s >= FRESH_S:
            # A task of its own: a viewer may go away, and the next one must not begin to wait anew.
            self._asking = self._asking or asyncio.ensure_future(self._refresh())
            in_trouble = self._last is not None and self._last.tree is None
            done, _ = await asyncio.wait({self._asking}, timeout=FRESH_S if in_trouble else None)
            for each in done:
                each.result()
        assert self._last is not None
        return self._last

    async def _refresh(self) -> None:
        try:
            before, asked_s = self._last, time.monotonic()
            fresh = await self._ask()
            self._last = msgspec.structs.replace(fresh, rates=rates_of(before, fresh, asked_s - self._asked_s))
            self._asked_s, self._at_s = asked_s, time.monotonic()
            if fresh.tree is None and (before is None or before.tree is not None):
                self._log(fresh.trouble)
            elif fresh.tree is not None and before is not None and before.tree is None:
                self._log("the master answers again")
        finally:
            self._asking = None

    async def kill(self, job: str, signum: int) -> None:
        """Raises: GprocError."""
        cluster = await self._connected()
        async with _heard(cluster):
            await cluster.kill(job, signum)

    async def follow(self, job: str, nodes: str | None = None) -> AsyncIterator[Event]:
        """What a job writes, from the first byte that is kept, until it ends.

        The job goes on if it is not followed any more.  Raises: GprocError.
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
            async with _heard(cluster):
                tree, running = await asyncio.gather(cluster.info(), cluster.jobs())
                numbers = frozenset(job.number for job in running)
                if self._running - numbers or time.monotonic() - self._ended_at_s >= ENDED_FRESH_S:
                    self._ended = {job.number: job for job in await cluster.jobs(ended=True)}
                    self._ended_at_s = time.monotonic()
                self._running = numbers
        except MasterSilent as error:
            ago = "" if self._answered_s is None else f"; it answered {time.monotonic() - self._answered_s:.0f} s ago"
            return Look(None, trouble=f"{error}{ago}")
        except GprocError as error:
            return Look(None, trouble=str(error))
        self._answered_s = time.monotonic()
        return Look(tree, tuple((self._ended | {job.number: job for job in running}).values()))

    async def _connected(self) -> AsyncCluster:
        if self._cluster is None or self._cluster.closed:
            self._cluster = await connect_async(self._socket)
        return self._cluster


@contextlib.asynccontextmanager
async def _heard(cluster: AsyncCluster) -> AsyncIterator[None]:
    """Raises: MasterSilent if the master, which has greeted, is silent now."""
    try:
        async with asyncio.timeout(HELLO_S):
            yield
    except TimeoutError:
        raise cluster._give_up(HELLO_S) from None


def rates_of(before: Look | None, after: Look, seconds: float) -> dict[int, float]:
    """For each job, the bytes per second on their way between two looks.  seconds: between the looks."""
    earlier = {job.number: job.transfer.bytes for job in before.jobs if job.transfer} if before is not None else {}
    return {
        job.number: max(0.0, (job.transfer.bytes - earlier[job.number]) / seconds)
        for job in after.jobs if job.transfer and job.number in earlier and seconds > 0
    }  # fmt: skip
