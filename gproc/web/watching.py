"""Asks the master for everyone who looks, over one connection, and follows jobs' output over one each."""

from __future__ import annotations

import asyncio
import codecs
import time
from collections.abc import AsyncIterator
from typing import Final

from gproc.client.aio import AsyncCluster, connect_async
from gproc.client.events import Exited, Output, Skipped, Started, Unreached
from gproc.client.known import JobInfo
from gproc.client.summary import describe
from gproc.errors import GprocError
from gproc.shown import shown_text
from gproc.web.rows import JsonRow, Look

FRESH_S: Final = 1.0
"""An answer of the master is good for this long, whoever asks."""

ENDED_FRESH_S: Final = 30.0
"""The master reads ended jobs from its records, thousands of them: so they are asked for when a job has ended, or the
last answer is this old."""

FOLLOWED_MAX: Final = 64
"""Jobs whose output is followed at once, by all who look."""


class Watching:
    """One for all who look.  socket: the master's; None: as `gproc.connect` finds it."""

    def __init__(self, socket: str | None) -> None:
        self._socket = socket
        self._cluster: AsyncCluster | None = None
        self._last: Look | None = None
        self._at_s = 0.0
        self._ended: dict[int, JobInfo] = {}
        self._ended_at_s = -ENDED_FRESH_S
        self._running: frozenset[int] = frozenset()
        self._asking = asyncio.Lock()
        self._followed = 0

    async def look(self) -> Look:
        """The tree and the jobs as they are, or were a second ago."""
        async with self._asking:
            if self._last is None or time.monotonic() - self._at_s >= FRESH_S:
                self._last = await self._ask()
                self._at_s = time.monotonic()
            return self._last

    async def kill(self, job: str, signum: int) -> None:
        """Raises: GprocError."""
        await (await self._connected()).kill(job, signum)

    async def follow(self, job: str, nodes: str) -> AsyncIterator[JsonRow]:
        """Rows of what a job writes, from the first byte that is kept, until it ends.

        The job goes on if nobody follows it any more.  Raises: GprocError.
        """
        if self._followed >= FOLLOWED_MAX:
            raise GprocError(f"{FOLLOWED_MAX} jobs are followed already: close other pages")
        self._followed += 1
        texts: dict[tuple[int, str], codecs.IncrementalDecoder] = {}
        try:
            async with connect_async(self._socket) as cluster:
                async for event in cluster.logs(job, nodes=nodes, follow=True):
                    match event:
                        case Output(node, stream, data, rank):
                            if (rank, stream) not in texts:
                                texts[rank, stream] = codecs.getincrementaldecoder("utf-8")("replace")
                            yield {"node": node, "stream": stream, "text": texts[rank, stream].decode(data)}
                        case Exited(node, outcome):
                            yield {"node": node, "ended": describe(outcome) or "exit status 0"}
                        case Skipped(node, stream, size):
                            yield {"node": node, "stream": stream or "stdout", "skipped": size}
                        case Started(nodes=names):
                            yield {"started": list(names)}
                        case Unreached(unreached, reason):
                            yield {"node": unreached, "unreached": shown_text(reason)}
                        case _:
                            pass
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
