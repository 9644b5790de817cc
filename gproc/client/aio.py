"""The library on an asyncio event loop: `gproc.connect_async()`.  Names and keywords as in `gproc.client.cluster`.

One thing here blocks the loop: packing a program that was never packed before takes some 0.3 s.  To avoid that, pack it
with `gproc.pack` in a thread, and say `bundle=`.  The files of `cp` and `get` are read and written in a thread of the
loop's default executor, one at a time for each copy.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack, overload

from gproc.client.aio_job import AsyncJob, give_outputs
from gproc.client.aio_known_jobs import AsyncKnownJobs
from gproc.client.aio_mapped import AsyncTaskCluster
from gproc.client.brought import BroughtBack
from gproc.client.chunks import ChunkServer
from gproc.client.codec import codec_of, input_bytes
from gproc.client.complaints import Complaints
from gproc.client.connection import Connection
from gproc.client.copying import CopyTries, Remote, copy_request, note_torn
from gproc.client.finding import default_socket
from gproc.client.keywords import FilePath, FilePaths, paths_of
from gproc.client.options import DEVNULL, PIPE, Args, JobOptions, asked, brought_back, keep_of
from gproc.client.receiving import Collected
from gproc.client.resolving import resolve
from gproc.client.results import CompletedJob, checked, decoded
from gproc.client.session import (
    Answered,
    ChunksWanted,
    ClientSession,
    JobEvent,
    JobRefused,
    Refusal,
    SessionEvent,
    TreeAnswer,
)
from gproc.client.session_job import SessionJob
from gproc.client.sinks import Sink
from gproc.client.tree import CopyResult, TreeInfo, tree_info
from gproc.errors import GprocError, LinkLost, MasterSilent, UsageError
from gproc.naming.naming import PLACES, MeantNodes, Naming
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.wire.job_messages import JobAnswer, Keep
from gproc.wire.task_messages import TaskListing

E = TypeVar("E", bound=BaseException)


class AsyncCluster(AsyncTaskCluster, AsyncKnownJobs):
    """A connection to a master on the running event loop: `gproc.connect_async()` makes one.

    >>> async with gproc.connect_async() as cluster:
    ...     done = await cluster.run("./.", ["hostname"])
    """

    def __init__(self, socket: FilePath | None = None) -> None:
        """socket: as of `gproc.connect`."""
        self._path = None if socket is None else os.fspath(socket)
        self._jobs: dict[SessionJob, AsyncJob] = {}
        self._trees: dict[int, asyncio.Future[TreeInfo]] = {}
        self._answers: dict[int, asyncio.Future[JobAnswer]] = {}
        self._failure: GprocError | None = UsageError("the cluster is not connected yet: `async with` it, or await it")
        self._writing = False

    def __await__(self) -> Generator[None, None, AsyncCluster]:
        return self._connect().__await__()

    async def _connect(self) -> AsyncCluster:
        """Raises: NoMaster, MasterSilent, TrustError; UsageError if a file that sets defaults is wrong."""
        self._loop = asyncio.get_running_loop()
        path = default_socket() if self._path is None else self._path
        try:
            self._connection = Connection(path, waits=False)
        except MasterSilent:  # its queue is full; the loop goes on meanwhile
            self._connection = await asyncio.to_thread(Connection, path)
        self._failure = None
        self._chunks = ChunkServer(self._connection.session)
        self._loop.add_reader(self._connection, self._readable)
        self._flush()
        self._await_hello()
        return self

    async def __aenter__(self) -> AsyncCluster:
        return await self._connect()

    async def __aexit__(self, kind: type[E] | None, error: E | None, trace: TracebackType | None) -> None:
        self.close()

    @overload
    async def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: Literal[False] = False, encoding: None = None, errors: None = None,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[bytes]: ...  # fmt: skip
    @overload
    async def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: Literal[True], encoding: str | None = None, errors: str | None = None,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[str]: ...  # fmt: skip
    @overload
    async def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: bool = False, encoding: str, errors: str | None = None,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[str]: ...  # fmt: skip
    @overload
    async def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: bool = False, encoding: None = None, errors: str,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[str]: ...  # fmt: skip

    async def run(
        self, nodes: str, args: Args, *, input: str | bytes | None = None, timeout: float | None = None,
        check: bool = False, text: bool = False, encoding: str | None = None, errors: str | None = None,
        **options: Unpack[JobOptions],
    ) -> CompletedJob[bytes] | CompletedJob[str]:  # fmt: skip
        """As `gproc.Cluster.run`.  If the task is cancelled, the job is killed."""
        codec = codec_of(text=text, encoding=encoding, errors=errors)
        data = input_bytes(input, codec)
        keep = keep_of(options)
        job = await self._begin(nodes, args, stdin=data is not None, timeout=timeout, options=options, keep=keep)
        try:
            result = await job.communicate(data)
        except BaseException:
            job._drop_files()
            if self._failure is None:
                job.kill()
            raise
        return checked(result if codec is None else decoded(result, codec), timeout, check)

    async def popen(
        self, nodes: str, args: Args, *, stdin: int | None = None, timeout: float | None = None, detach: bool = False,
        **options: Unpack[JobOptions],
    ) -> AsyncJob:  # fmt: skip
        """As `gproc.Cluster.popen`.  If the task is cancelled meanwhile, the job is killed."""
        if stdin not in (None, PIPE, DEVNULL):
            raise ValueError("stdin is gproc.PIPE, gproc.DEVNULL or None")
        keep = keep_of(options, detach=detach)
        job = await self._begin(nodes, args, stdin=stdin == PIPE, timeout=timeout, options=options, keep=keep)
        try:
            await job._begun()
            if detach:
                await self._wait_until(job, lambda: job._job.left)
                job._check_departure()
        except BaseException:
            if self._failure is None:
                job.kill()
            raise
        return job

    async def cp(
        self, sources: FilePaths, destination: str, *, exclude: str = "", timeout: float | None = None,
        check: bool = True,
    ) -> CopyResult:  # fmt: skip
        """As `gproc.Cluster.cp`.  If the task is cancelled, the copy is ended: each file is complete or not there.

        >>> await cluster.cp(["solver.conf", "data/"], "./.:/opt/solver/")
        """
        self._check()
        names = paths_of(sources)
        remote, meant = await self._remote(destination, exclude)
        tries = CopyTries(names)
        while (bundle := await asyncio.to_thread(tries.pack)) is not None:
            complaints = Complaints(meant.naming)
            request = copy_request(remote, "place", exclude=meant.exclude, timeout_s=timeout, bundle=bundle)
            job = await self._carry_out(request, bundle, complaints, meant.naming)
            if not await asyncio.to_thread(tries.again, bundle, self._chunks.problems.get(bundle.digest)):
                return tries.result(job, complaints).checked(check)
        return tries.nothing().checked(check)

    async def get(
        self, source: str, directory: FilePath, *, exclude: str = "", timeout: float | None = None, check: bool = True
    ) -> CopyResult:
        """As `gproc.Cluster.get`.  If the task is cancelled, the copy is ended: each file is complete or not there.

        >>> await cluster.get("1-80:/var/log/solver", "logs")
        """
        self._check()
        remote, meant = await self._remote(source, exclude)
        request = copy_request(remote, "collect", exclude=meant.exclude, timeout_s=timeout)
        collected = Collected(os.fspath(directory), remote.path, meant.naming)
        job = await self._carry_out(request, None, collected, meant.naming)
        note_torn(collected, job.outcomes)
        return CopyResult.of(job, collected.complaints).checked(check)

    async def info(self) -> TreeInfo:
        """As `gproc.Cluster.info`."""
        self._check()
        serial = self._connection.session.inquire()
        answer: asyncio.Future[TreeInfo] = self._loop.create_future()
        self._trees[serial] = answer
        self._flush()
        return await answer

    async def _view(self, known: SessionJob) -> AsyncJob:
        self._check()
        viewed = self._jobs[known] = AsyncJob(self, known, (), stdin=False)
        self._flush()
        await viewed._begun()
        viewed._be_viewed()
        return viewed

    async def _ask(self, question: Callable[[ClientSession], int]) -> JobAnswer:
        """Ask a question about jobs.  Raises: JobRejected, LinkLost."""
        self._check()
        serial = question(self._connection.session)
        answer: asyncio.Future[JobAnswer] = self._loop.create_future()
        self._answers[serial] = answer
        self._flush()
        return await answer

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, by `close` or because the master is gone."""
        return self._failure is not None

    def close(self) -> None:
        """Close the connection: jobs that still run are ended."""
        self._fail(LinkLost("the connection was closed"))

    async def _begin(
        self, nodes: str, args: Args, *, stdin: bool, timeout: float | None, options: JobOptions, keep: Keep | None
    ) -> AsyncJob:
        meant = await self._meant(nodes, options.get("exclude", ""))
        nodes, options["exclude"] = meant.nodes, meant.exclude
        self._check()
        request, bundle, words = asked(nodes, args, stdin=stdin, timeout=timeout, options=options)
        brought = brought_back(request, options.get("collect_to"), keep, meant.naming)
        return self._submit(request, bundle, words, keep, meant.naming, brought=brought)

    async def _meant(self, nodes: str, exclude: str = "", *, job: int | str = "last") -> MeantNodes:
        steps = resolve(nodes, exclude, job=str(job))
        try:
            question = next(steps)
            while True:
                question = steps.send(await self._ask(question))
        except StopIteration as done:
            found: MeantNodes = done.value
            return found

    async def _remote(self, text: str, exclude: str) -> tuple[Remote, MeantNodes]:
        remote = Remote.parse(text)
        meant = await self._meant(remote.nodes, exclude)
        return remote._replace(nodes=meant.nodes), meant

    def _submit(
        self, request: Request, bundle: Bundle | None, words: tuple[str, ...], keep: Keep | None = None,
        naming: Naming = PLACES, listing: TaskListing | None = None, brought: BroughtBack | None = None,
    ) -> AsyncJob:
        self._check()
        if bundle is not None:
            self._chunks.offer(bundle)
        known = self._connection.session.submit(request, keep, naming, listing)
        job = self._jobs[known] = AsyncJob(self, known, words, stdin=request.stdin, brought=brought)
        self._flush()
        return job

    async def _carry_out(
        self, request: Request, bundle: Bundle | None, sink: Sink, naming: Naming
    ) -> SessionJob:
        """Run a copy, and give its output to `sink` in a thread."""
        try:
            job = self._submit(request, bundle, (), None, naming)
            try:
                await job._begun()
                sink.begin(job._job.places)
                while (outputs := await job._next_outputs()) is not None:
                    await give_outputs(sink, outputs)
            except BaseException:
                if self._failure is None:
                    job.kill()
                raise
        finally:
            sink.finish()
        return job._job

    async def _wait_until(self, job: AsyncJob, ready: Callable[[], bool]) -> None:
        while not ready():
            self._check()
            job._changed.clear()
            await job._changed.wait()

    def _await_hello(self) -> None:
        """Fail if the master's first answer is overdue, else look again when it would be."""
        if self._failure is None and (left_s := self._connection.hello_s) is not None:
            if left_s:
                self._loop.call_later(left_s, self._await_hello)
                return
            self._readable()  # the loop may have been busy with something else for so long
            try:
                if self._failure is None:
                    self._connection.check_hello()
            except GprocError as error:
                self._fail(error)

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
        """Send as much as the socket takes now, and the rest later.  Raises: LinkLost."""
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
            case Answered(serial, listed):
                future = self._answers.pop(serial, None)
                if future is not None and not future.done():
                    future.set_result(listed)
            case Refusal(serial, error):
                future = self._answers.pop(serial, None)
                if future is not None and not future.done():
                    future.set_exception(error)
            case _:
                for job in self._jobs.values():
                    job._changed.set()

    def _give_up(self, seconds: float) -> GprocError:
        """End the connection to a master that has not answered for so long; why it is closed."""
        if self._failure is None:
            self._fail(self._connection.silence(seconds))
        return self._failure or LinkLost("the connection was closed")

    def _fail(self, error: GprocError) -> None:
        if self._failure is not None:
            return
        self._failure = error
        # A forked process shares epoll(7)'s list of descriptors with its parent; a loop that is over has none.
        if not (self._connection.is_inherited or self._loop.is_closed()):
            self._loop.remove_reader(self._connection)
            if self._writing:
                self._loop.remove_writer(self._connection)
        self._connection.close()
        if self._connection.is_inherited:
            return
        for job in self._jobs.values():
            job._changed.set()
            job._drop_files()
        waiting: list[asyncio.Future[Any]] = [*self._trees.values(), *self._answers.values()]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(error)

    def _check(self) -> None:
        """Raises: LinkLost and its like; UsageError on another event loop, where nothing would wake the caller."""
        if self._failure is not None:
            raise self._failure
        self._connection.check_process()
        if asyncio._get_running_loop() not in (None, self._loop):
            raise UsageError("another event loop has this connection: connect in this one")


def connect_async(socket: FilePath | None = None) -> AsyncCluster:
    """A connection to the master of this machine: `async with` it, or `await` it.  socket and errors: as `connect`."""
    return AsyncCluster(socket)
