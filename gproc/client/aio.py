"""The library on an asyncio event loop: `gproc.connect_async()`.  The same words as `gproc.client.cluster`.

Nothing here blocks the loop but packing a program that was never packed before, some 0.3 s: pack it with `gproc.pack`
in a thread of your own, and say `bundle=`.
"""

from __future__ import annotations

import asyncio
import signal as signals
from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import Literal, TypeVar, Unpack, overload

from gproc.client.begun import BegunJob
from gproc.client.chunks import ChunkServer
from gproc.client.connection import Connection
from gproc.client.events import Event, Output
from gproc.client.options import DEVNULL, PIPE, Args, JobOptions, asked, input_bytes
from gproc.client.results import Collector, CompletedJob, checked, decoded
from gproc.client.session import ChunksWanted, JobEvent, JobRefused, SessionEvent, SessionJob, TreeAnswer
from gproc.client.tree import TreeInfo, tree_info
from gproc.errors import GprocError, LinkLost
from gproc.trust.meeting import DEFAULT_SOCKET

E = TypeVar("E", bound=BaseException)


class AsyncStdin:
    """The standard input of a job: what is written goes to every node's program."""

    def __init__(self, cluster: AsyncCluster, job: AsyncJob) -> None:
        self.closed = False
        self._cluster = cluster
        self._job = job

    async def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all of it, and wait until there is room for it; how many bytes that were.

        Raises: BrokenPipeError if the job has ended; ValueError if it was closed; LinkLost.
        """
        if self.closed:
            raise ValueError("write to the closed standard input of a job")
        view = memoryview(data).cast("B")
        written = 0
        known = self._job._job
        while written < len(view):
            await self._cluster._wait_until(self._job, lambda: known.ended or known.stdin_credit > 0)
            if known.ended:
                raise BrokenPipeError("the job has ended")
            written += self._cluster._connection.session.write_stdin(known, view[written:])
            self._cluster._flush()
        return written

    async def close(self) -> None:
        """The end of the input; once more does nothing."""
        if not self.closed:
            self.closed = True
            known = self._job._job
            await self._cluster._wait_until(self._job, lambda: known.ended or known.number is not None)
            self._cluster._connection.session.end_stdin(known)
            self._cluster._flush()


class AsyncJob(BegunJob):
    """A job that was begun: `async for event in job`.  As `gproc.Job` otherwise."""

    def __init__(self, cluster: AsyncCluster, job: SessionJob, args: tuple[str, ...], *, stdin: bool) -> None:
        super().__init__(job, args)
        self.stdin = AsyncStdin(cluster, self) if stdin else None
        self._cluster = cluster
        self._changed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """The events as they come, until all nodes have ended.  Raises: JobRejected, LinkLost."""
        while (event := await self._next()) is not None:
            yield event

    async def wait(self) -> int:
        """Wait for the end; `returncode`.  Output that nobody has taken is dropped.  Raises: JobRejected, LinkLost."""
        while await self._next() is not None:
            pass
        assert self.returncode is not None
        return self.returncode

    async def communicate(self, input: bytes | None = None) -> CompletedJob[bytes]:
        """Write the input and its end, gather all output, wait for the end.  Raises: JobRejected, LinkLost."""
        collector = Collector(self.args)
        writing = asyncio.ensure_future(self._write_all(input or b"")) if self.stdin is not None else None
        try:
            while (event := await self._next()) is not None:
                collector.add(event)
        finally:
            if writing is not None:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
        return collector.result(self._job)

    def send_signal(self, signum: int) -> None:
        """Send a signal to every process of the job.  Raises: ValueError for one that a job cannot be sent."""
        self._cluster._connection.session.signal(self._job, signum)
        self._cluster._flush()

    def terminate(self) -> None:
        self.send_signal(signals.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signals.SIGKILL)

    async def __aenter__(self) -> AsyncJob:
        return self

    async def __aexit__(self, kind: type[E] | None, error: E | None, trace: TracebackType | None) -> None:
        if kind is not None:
            self.kill()
        elif self.stdin is not None:
            await self.stdin.close()
        await self.wait()

    async def _begun(self) -> None:
        await self._cluster._wait_until(self, lambda: self._job.number is not None or self._job.rejected is not None)
        if self._job.rejected is not None:
            raise self._job.rejected

    async def _next(self) -> Event | None:
        await self._cluster._wait_until(self, lambda: bool(self._events) or self._job.ended)
        if not self._events:
            if self._job.rejected is not None:
                raise self._job.rejected
            return None
        event = self._events.popleft()
        if isinstance(event, Output) and not self._job.ended:
            self._cluster._connection.session.consumed(self._job, event.stream, len(event.data))
            self._cluster._flush()
        return event

    async def _write_all(self, data: bytes) -> None:
        assert self.stdin is not None
        try:
            await self.stdin.write(data)
            await self.stdin.close()
        except BrokenPipeError:
            return


class AsyncCluster:
    """A connection to a master on the running event loop: `gproc.connect_async()` makes one.

    >>> async with gproc.connect_async() as cluster:
    ...     done = await cluster.run("./.", ["hostname"])
    """

    def __init__(self, socket: str = DEFAULT_SOCKET) -> None:
        self._path = socket
        self._jobs: dict[SessionJob, AsyncJob] = {}
        self._trees: dict[int, asyncio.Future[TreeInfo]] = {}
        self._failure: GprocError | None = None
        self._writing = False

    def __await__(self) -> Generator[None, None, AsyncCluster]:
        return self._connect().__await__()

    async def _connect(self) -> AsyncCluster:
        """Raises: NoMaster, TrustError."""
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(self._path)
        self._chunks = ChunkServer(self._connection.session)
        self._loop.add_reader(self._connection, self._readable)
        self._flush()
        return self

    async def __aenter__(self) -> AsyncCluster:
        return await self._connect()

    async def __aexit__(self, kind: type[E] | None, error: E | None, trace: TracebackType | None) -> None:
        self.close()

    @overload
    async def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: Literal[False] = False, encoding: str = "utf-8", errors: str = "strict",
        **options: Unpack[JobOptions],
    ) -> CompletedJob[bytes]: ...  # fmt: skip
    @overload
    async def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: Literal[True], encoding: str = "utf-8", errors: str = "strict",
        **options: Unpack[JobOptions],
    ) -> CompletedJob[str]: ...  # fmt: skip

    async def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: bool = False, encoding: str = "utf-8", errors: str = "strict",
        **options: Unpack[JobOptions],
    ) -> CompletedJob[bytes] | CompletedJob[str]:  # fmt: skip
        """As `gproc.Cluster.run`.  If the task is cancelled, the job is killed."""
        data = input_bytes(input, text=text, encoding=encoding, errors=errors)
        job = self._begin(nodes, args, stdin=data is not None, timeout=timeout, options=options)
        try:
            result = await job.communicate(data)
        except BaseException:
            if self._failure is None:
                job.kill()
            raise
        return checked(decoded(result, encoding, errors) if text else result, timeout, check)

    async def popen(
        self, nodes: str, args: Args, *, stdin: int | None = None, timeout: float | None = None,
        **options: Unpack[JobOptions],
    ) -> AsyncJob:  # fmt: skip
        """As `gproc.Cluster.popen`."""
        if stdin not in (None, PIPE, DEVNULL):
            raise ValueError("stdin is gproc.PIPE, gproc.DEVNULL or None")
        job = self._begin(nodes, args, stdin=stdin == PIPE, timeout=timeout, options=options)
        await job._begun()
        return job

    async def info(self) -> TreeInfo:
        """As `gproc.Cluster.info`."""
        self._check()
        serial = self._connection.session.inquire()
        answer: asyncio.Future[TreeInfo] = self._loop.create_future()
        self._trees[serial] = answer
        self._flush()
        return await answer

    def close(self) -> None:
        """Give the connection up: jobs that still run are ended."""
        self._fail(LinkLost("the connection was closed"))

    def _begin(self, nodes: str, args: Args, *, stdin: bool, timeout: float | None, options: JobOptions) -> AsyncJob:
        self._check()
        request, bundle, words = asked(nodes, args, stdin=stdin, timeout=timeout, options=options)
        if bundle is not None:
            self._chunks.offer(bundle)
        known = self._connection.session.submit(request)
        job = self._jobs[known] = AsyncJob(self, known, words, stdin=stdin)
        self._flush()
        return job

    async def _wait_until(self, job: AsyncJob, ready: Callable[[], bool]) -> None:
        while not ready():
            self._check()
            job._changed.clear()
            await job._changed.wait()

    def _readable(self) -> None:
        try:
            for event in self._connection.receive():
                if isinstance(event, ChunksWanted):
                    self._chunks.want(event)
                else:
                    self._handle(event)
        except GprocError as error:
            self._fail(error)
            return
        self._flush()

    def _writable(self) -> None:
        self._chunks.serve()
        self._flush()

    def _flush(self) -> None:
        """Send what the socket takes; the rest when it takes more.  Raises: LinkLost."""
        self._check()
        try:
            self._connection.flush()
        except GprocError as error:
            self._fail(error)
            raise
        waiting = bool(self._connection.session.outbox) or self._chunks.busy
        if waiting and not self._writing:
            self._loop.add_writer(self._connection, self._writable)
        elif self._writing and not waiting:
            self._loop.remove_writer(self._connection)
        self._writing = waiting

    def _handle(self, event: SessionEvent) -> None:
        match event:
            case JobEvent(known, happened):
                if (job := self._jobs.get(known)) is not None:
                    job._keep(happened)
                    job._changed.set()
                if known.ended:
                    self._jobs.pop(known, None)
            case JobRefused(known):
                if (job := self._jobs.pop(known, None)) is not None:
                    job._changed.set()
            case TreeAnswer(state):
                answer = self._trees.pop(state.serial, None)
                if answer is not None and not answer.done():
                    answer.set_result(tree_info(state))
            case _:
                for job in self._jobs.values():
                    job._changed.set()

    def _fail(self, error: GprocError) -> None:
        if self._failure is not None:
            return
        self._failure = error
        self._loop.remove_reader(self._connection)
        if self._writing:
            self._loop.remove_writer(self._connection)
        self._connection.close()
        for job in self._jobs.values():
            job._changed.set()
        for answer in self._trees.values():
            if not answer.done():
                answer.set_exception(error)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


def connect_async(socket: str = DEFAULT_SOCKET) -> AsyncCluster:
    """A connection to the master of this machine: `async with` it, or `await` it.  Raises: NoMaster, TrustError."""
    return AsyncCluster(socket)
