"""A job on an asyncio event loop, as `gproc.client.job` has it for threads.  `gproc.client.aio` makes them."""

from __future__ import annotations

import asyncio
import os
import signal as signals
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from gproc.client.begun import BegunJob
from gproc.client.brought import BroughtBack
from gproc.client.events import Event, Output
from gproc.client.results import CompletedJob
from gproc.client.session_job import SessionJob
from gproc.client.sinks import Sink

if TYPE_CHECKING:
    from gproc.client.aio import AsyncCluster

E = TypeVar("E", bound=BaseException)


class AsyncStdin:
    """The standard input of a job: every node's program reads all that is written."""

    def __init__(self, cluster: AsyncCluster, job: AsyncJob) -> None:
        self.closed = False
        self._cluster = cluster
        self._job = job

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of it, and wait until there is room for it.  Returns the number of bytes.

        Raises: BrokenPipeError if the job has ended; ValueError if it was closed; LinkLost.
        """
        if self.closed:
            raise ValueError("write to the closed standard input of a job")
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            written += await self._write_some(view[written:])
        return written

    async def _write_some(self, view: memoryview) -> int:
        """Wait until there is room, and fill it.  Returns the number of bytes; if it is cancelled, none were written.

        Raises: BrokenPipeError if the job has ended; LinkLost.
        """
        known = self._job._job
        await self._cluster._wait_until(self._job, lambda: known.ended or known.stdin_credit > 0)
        if known.ended:
            raise BrokenPipeError("the job has ended")
        written = self._cluster._connection.session.write_stdin(known, view)
        self._cluster._flush()
        return written

    async def close(self) -> None:
        """End the input.  A second call does nothing."""
        if not self.closed:
            self.closed = True
            known = self._job._job
            await self._cluster._wait_until(self._job, lambda: known.ended or known.number is not None)
            self._cluster._connection.session.end_stdin(known)
            self._cluster._flush()


class AsyncJob(BegunJob):
    """A job that has begun: `async for event in job`.  Everything else is as of `gproc.Job`."""

    def __init__(
        self, cluster: AsyncCluster, job: SessionJob, args: tuple[str, ...], *, stdin: bool,
        brought: BroughtBack | None = None,
    ) -> None:  # fmt: skip
        super().__init__(job, args, brought)
        self._bringing = asyncio.Lock()
        self.stdin = AsyncStdin(cluster, self) if stdin else None
        self._cluster = cluster
        self._changed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The events as they come, until all nodes have ended.  Raises: JobRejected, LinkLost."""
        while (event := await self._next()) is not None:
            yield event

    async def wait(self) -> int:
        """Wait for the end.  Returns `returncode`.  Output that nobody has taken is dropped.

        Raises: JobRejected, LinkLost.
        """
        while await self._next() is not None:
            pass
        return self._ended_status()

    async def communicate(self, input: bytes | None = None) -> CompletedJob[bytes]:
        """Write the input and end it, gather all output, and wait for the end.  Raises: JobRejected, LinkLost.

        If it is cancelled, as by asyncio.timeout, another call goes on with what was gathered, and with the input.
        """
        collector = self._gathering(input)
        writing = asyncio.ensure_future(self._write_all()) if self.stdin is not None else None
        try:
            while (event := await self._next()) is not None:
                collector.add(event)
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
        return collector.result(self._job, self._concluded())

    def send_signal(self, signum: int) -> None:
        """Send a signal to every process of the job.  Raises: ValueError for a signal that no job can be sent."""
        self._cluster._connection.session.signal(self._job, signum)
        self._cluster._flush()

    async def leave(self) -> None:
        """Leave the job, which goes on.  Raises: GprocError if it had to be ended."""
        self._check_leaving()
        await self._begun()
        self._cluster._connection.session.leave(self._job)
        self._cluster._flush()
        await self._cluster._wait_until(self, lambda: self._job.ended)
        self._check_departure()

    def terminate(self) -> None:
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signals.SIGKILL)

    async def __aenter__(self) -> AsyncJob:
        return self

    async def __aexit__(self, kind: type[E] | None, error: E | None, trace: TracebackType | None) -> None:
        if self._job.left:
            return
        if kind is not None and self._job.viewed is not None:
            await self.leave()
            return
        if kind is not None:
            self.kill()
        elif self.stdin is not None:
            await self.stdin.close()
        await self.wait()

    def _be_viewed(self) -> None:
        """It was begun by another program, or before."""
        viewed = self._job.viewed
        assert viewed is not None
        self.args = tuple(map(os.fsdecode, viewed.argv))
        self.stdin = AsyncStdin(self._cluster, self) if self._job.request.stdin else None

    async def _begun(self) -> None:
        await self._cluster._wait_until(self, lambda: self._job.number is not None or self._job.rejected is not None)
        if self._job.rejected is not None:
            self._drop_files()
            raise self._job.rejected

    @property
    def _has_news(self) -> bool:
        return bool(self._events or self._files) or self._job.ended

    async def _next(self) -> Event | None:
        while True:
            await self._cluster._wait_until(self, lambda: self._has_news)
            await self._bring_files()
            if self._events or self._job.ended:
                break
        if not self._events:
            if self._job.rejected is not None:
                raise self._job.rejected
            return None
        event = self._take()
        self._cluster._flush()
        return event

    async def _bring_files(self) -> None:
        """In a thread.  If this task is cancelled meanwhile, it still waits for that thread."""
        if self._brought is None:
            return
        async with self._bringing:
            bringing = asyncio.ensure_future(asyncio.to_thread(self._bring))
            try:
                sizes = await asyncio.shield(bringing)
            except asyncio.CancelledError:
                await asyncio.wait({bringing})
                raise
            if not self._job.ended:
                for size in sizes:
                    self._cluster._connection.session.consumed(self._job, "files", size)
                self._cluster._flush()

    async def _next_outputs(self) -> list[Output] | None:
        """Wait for an event.  Returns all output that has come; None at the end.  Raises: JobRejected, LinkLost."""
        first = await self._next()
        if first is None:
            return None
        events = [first]
        while self._events:
            events.append(self._take())
        self._cluster._flush()
        return [event for event in events if isinstance(event, Output)]

    def _take(self) -> Event:
        """Take the next event, which must have come, and acknowledge its output."""
        event = self._events.popleft()
        if isinstance(event, Output) and not self._job.ended:
            self._cluster._connection.session.consumed(self._job, event.stream, len(event.data))
        return event

    async def _write_all(self) -> None:
        assert self.stdin is not None
        try:
            while self._unsent:
                self._unsent = self._unsent[await self.stdin._write_some(self._unsent) :]
            await self.stdin.close()
        except BrokenPipeError:
            return


async def give_outputs(sink: Sink, outputs: Sequence[Output]) -> None:
    """Give outputs to the sink in a thread.  If this task is cancelled meanwhile, it still waits for that thread."""

    def give() -> None:
        for output in outputs:
            sink.output(output.rank, output.stream, memoryview(output.data))

    giving = asyncio.ensure_future(asyncio.to_thread(give))
    try:
        await asyncio.shield(giving)
    except asyncio.CancelledError:
        await asyncio.wait({giving})
        raise
