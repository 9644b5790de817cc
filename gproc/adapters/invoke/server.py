"""The Invoke Server: answers requests one after the other, and tells of its jobs."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import Counter
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Final, assert_never

import gproc
from gproc.adapters.invoke import protocol
from gproc.adapters.invoke.attributes import BadAttribute, invocation_of
from gproc.adapters.invoke.job import InvokedJob, Workload
from gproc.adapters.invoke.mpi import MpiProgram, NoLauncher, check_launcher
from gproc.adapters.invoke.pipes import ClientPipes, PipeReader, PipeWriter
from gproc.adapters.invoke.placement import NoSuchNode, spread
from gproc.adapters.invoke.processes import NodeProcesses
from gproc.adapters.invoke.protocol import (
    AskFeatures,
    AskStatus,
    BadRequest,
    CreateJob,
    DestroyJob,
    EndServer,
    InvokeRequest,
    RequestReader,
    Status,
)
from gproc.adapters.invoke.redirect import OutputFiles
from gproc.adapters.invoke.tree import KnownTree
from gproc.shown import reason_of

log: Final = logging.getLogger("gproc.invoke")

END_PATIENCE_S: Final = 5.0
"""How long the server waits for the end of killed jobs.  Its own end closes its connection, which ends them too."""


class InvokeServer:
    """The server of one client.  `serve` is its life."""

    def __init__(self, pipes: ClientPipes, rlimits: Mapping[int, int]) -> None:
        """rlimits: soft limits of the jobs' processes."""
        self._requests = PipeReader(pipes.requests)
        self._replies = PipeWriter(pipes.replies, self.end)
        self._notifies = PipeWriter(pipes.notifies, self.end)
        self._rlimits = rlimits
        self._reader = RequestReader()
        self._tree = KnownTree()
        self._jobs: dict[str, InvokedJob] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._serials = itertools.count(1)
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Begin to end: no more requests are answered, not even the one that is being worked on."""
        self._ending.set()
        self._requests.close()

    async def serve(self) -> None:
        """Answer requests until EXIT, `end`, or the end of a pipe.  Then end all jobs."""
        async for data in self._requests.pieces():
            for request in self._reader.feed(data):
                if not self._ending.is_set():
                    await self._unless_ending(self._answer(request))
        log.info("ends; jobs that still run: %d", len(self._tasks))
        for job in self._jobs.values():
            job.destroy()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=END_PATIENCE_S)
        self._tree.close()

    async def _unless_ending(self, answering: Coroutine[None, None, None]) -> None:
        """Answer a request, but give up if the client dies: a master that stands still must not keep the jobs alive."""
        task = asyncio.ensure_future(answering)
        ending = asyncio.ensure_future(self._ending.wait())
        await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
        for each in (task, ending):
            each.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _answer(self, request: InvokeRequest) -> None:
        match request:
            case CreateJob():
                await self._create(request)
            case AskStatus(id):
                job = self._jobs.get(id)
                self._replies.write(_no_such_job(id) if job is None else protocol.done(job.status))
            case DestroyJob(id):
                self._destroy(id)
            case AskFeatures():
                self._replies.write(protocol.features())
            case EndServer():
                self._replies.write(protocol.done())
                await self._replies.drained()
                self.end()
            case BadRequest(reason):
                log.info("refused: %s", reason)
                self._replies.write(protocol.failed(reason))
            case _:
                assert_never(request)
        await self._replies.drained()

    async def _create(self, request: CreateJob) -> None:
        try:
            asked = invocation_of(request.attributes)
            nodes = await self._tree.nodes_for(asked)
            if asked.backend != "NORMAL":
                await check_launcher(asked.mpirun)
            cluster = await self._tree.cluster()
            output = OutputFiles(asked.redirect)
        except (BadAttribute, NoSuchNode, NoLauncher, gproc.GprocError, OSError) as error:
            log.info("request %s: refused: %s", request.request, reason_of(error))
            self._replies.write(protocol.failed(reason_of(error)))
            return
        self._replies.write(protocol.done())
        placed = spread(asked.count, nodes, self._busy, asked.host_count)
        work: Workload = (
            NodeProcesses(asked, placed, cluster, self._rlimits)
            if asked.backend == "NORMAL"
            else MpiProgram(asked, placed, self._rlimits)
        )
        notify = self._changed if asked.reasons else self._changed_without_reason
        job = InvokedJob(f"gproc-{os.getpid()}-{next(self._serials)}", work, placed, output, notify)
        for line in asked.ignored:
            log.info("%s: ignored: %s", job.id, line)
        log.info("%s: request %s: %s on %s", job.id, request.request, asked.executable, _told(placed))
        self._notifies.write(protocol.created(request.request, job.id))
        self._begin(job)

    def _begin(self, job: InvokedJob) -> None:
        self._jobs[job.id] = job
        self._busy.update(job.placed)
        task = self._tasks[job.id] = asyncio.create_task(job.run())
        task.add_done_callback(lambda _: self._ended(job, task))

    def _ended(self, job: InvokedJob, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: a bug in gproc", job.id, exc_info=error)
            job.fail("a bug in gproc")  # otherwise the client would wait for ever
        del self._tasks[job.id]
        self._busy.subtract(job.placed)
        if job.status == "FAILED":
            self._tree.forget()  # perhaps because a node is gone
        if job.destroyed:
            self._jobs.pop(job.id, None)

    def _destroy(self, id: str) -> None:
        job = self._jobs.get(id)
        if job is None:
            self._replies.write(_no_such_job(id))
            return
        self._replies.write(protocol.done())
        if job.ended:
            del self._jobs[id]
        else:
            job.destroy()

    def _changed(self, job: InvokedJob, status: Status, reason: str) -> None:
        self._notifies.write(protocol.status_changed(job.id, status, reason))

    def _changed_without_reason(self, job: InvokedJob, status: Status, _: str) -> None:
        self._changed(job, status, "")


def _told(placed: Mapping[str, int]) -> str:
    return ", ".join(node if count == 1 else f"{node} ({count} times)" for node, count in placed.items())


def _no_such_job(id: str) -> bytes:
    return protocol.failed(f"no such job: {id}")
