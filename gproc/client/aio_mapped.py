"""`AsyncCluster.map`: tasks of one job on an asyncio event loop."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Final, Literal, Unpack, overload

from gproc.client.aio_job import AsyncJob
from gproc.client.options import Args, JobOptions, keep_of
from gproc.client.tasks import (
    BegunTasks,
    Listed,
    TaskGathering,
    TaskResult,
    TaskValue,
    begun_list,
    task_values,
    tasks_of,
)
from gproc.naming.naming import PLACES, MeantNodes, Naming
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.wire.job_messages import Keep
from gproc.wire.task_messages import TaskListing

Beginning = Callable[[], Awaitable[tuple[BegunTasks, Naming]]]
"""Gives what a job of tasks begins with, and how its nodes are called."""


TaskValues = Iterable[TaskValue | Sequence[TaskValue]] | AsyncIterable[TaskValue | Sequence[TaskValue]]

_END: Final = object()


class Fetched:
    """Tasks of an asynchronous iterable: the next one is awaited while others run.  changed: called when it is here."""

    may_wait = True

    def __init__(self, values: AsyncIterable[TaskValue | Sequence[TaskValue]], changed: Callable[[], None]) -> None:
        self.ended = False
        self._values = aiter(values)
        self._changed = changed
        self._asking: asyncio.Future[object] | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether nothing can be taken before `changed` is called."""
        return self._asking is not None and not self._asking.done()

    def take(self) -> tuple[bytes, ...] | None:
        """Raises: whatever the iterable raises; UsageError, TypeError for what can be no task."""
        if self._asking is None and not self.ended:
            self._asking = asyncio.ensure_future(anext(self._values, _END))
            self._asking.add_done_callback(lambda _: self._changed())
        if self._asking is None or not self._asking.done():
            return None
        found, self._asking = self._asking.result(), None
        self.ended = found is _END
        return None if self.ended else task_values(found)  # type: ignore[arg-type]  # it looks at the type itself

    async def close(self) -> None:
        """Ask for no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        if isinstance(self._values, AsyncGenerator):
            await self._values.aclose()


class AsyncTaskCluster(ABC):
    """What a cluster on an event loop does with tasks."""

    @overload
    def map(
        self, nodes: str, args: Args, values: TaskValues, *, ordered: bool = True,
        per_node: int = 0, timeout: float | None = None, detach: Literal[False] = False,
        **options: Unpack[JobOptions],
    ) -> AsyncGenerator[TaskResult]: ...  # fmt: skip
    @overload
    def map(
        self, nodes: str, args: Args, values: TaskValues, *, ordered: bool = True,
        per_node: int = 0, timeout: float | None = None, detach: Literal[True], **options: Unpack[JobOptions],
    ) -> Coroutine[None, None, AsyncJob]: ...  # fmt: skip

    def map(
        self, nodes: str, args: Args, values: TaskValues, *, ordered: bool = True,
        per_node: int = 0, timeout: float | None = None, detach: bool = False, **options: Unpack[JobOptions],
    ) -> AsyncGenerator[TaskResult] | Coroutine[None, None, AsyncJob]:  # fmt: skip
        """As `gproc.Cluster.map`.  If the iteration is left, or its task is cancelled, what still runs is killed.

        values may be an asynchronous iterable too: tasks and results go on while it waits for its next value.

        With `detach` it is awaited, and gives the job.

        >>> async for result in cluster.map("./.", ["./simulate", "--seed"], range(1000)):
        ...     print(result.index, result.returncode)
        >>> job = await cluster.map("./.", ["./simulate", "--seed"], range(1000), detach=True)
        """

        def beginning() -> Awaitable[tuple[BegunTasks, Naming]]:
            return self._tasks(nodes, args, per_node=per_node, timeout=timeout, options=options)

        if detach:
            return self._detach_tasks(beginning, values, keep_of(options, detach=True))
        return self._run_tasks(beginning, values, keep_of(options), ordered=ordered)

    async def _tasks(
        self, nodes: str, args: Args, *, per_node: int, timeout: float | None, options: JobOptions
    ) -> tuple[BegunTasks, Naming]:
        meant = await self._meant(nodes, options.get("exclude", ""))
        options["exclude"] = meant.exclude
        return tasks_of(meant.nodes, args, per_node=per_node, timeout=timeout, options=options), meant.naming

    async def _run_tasks(
        self, beginning: Beginning, values: TaskValues, keep: Keep | None, *,
        ordered: bool,
    ) -> AsyncGenerator[TaskResult]:  # fmt: skip
        begun, naming = await beginning()
        job = self._submit(begun.request, begun.bundle, begun.words, keep, naming)
        fetched = Fetched(values, job._changed.set) if isinstance(values, AsyncIterable) else None
        try:
            await job._begun()
            source = fetched or Listed(values)  # type: ignore[arg-type]  # it is the one or the other
            gathering = TaskGathering(job._job, begun.feed, source, ordered=ordered)
            while not job._job.ended or job._events:
                await _hand_out(job, gathering)
                if gathering.wants_more and not job._events and not job._job.ended:
                    if fetched is not None and fetched.is_awaited:
                        await self._wait_until(job, lambda: job._has_news or not fetched.is_awaited)
                    else:
                        await asyncio.sleep(0)  # the next value may take long too: others of this loop have a turn
                    if not job._has_news:
                        continue
                event = await job._next()
                while event is not None:
                    gathering.take(event)
                    event = job._take() if job._events else None
                for result in gathering.ready():
                    yield result
            gathering.finish()
            for result in gathering.ready():
                yield result
            gathering.check()
        finally:
            if fetched is not None:
                await fetched.close()
            if not job._job.ended and not self.closed:
                job.kill()

    async def _detach_tasks(
        self, beginning: Beginning, values: TaskValues, keep: Keep | None
    ) -> AsyncJob:
        begun, naming = await beginning()
        whole, number = begun_list(begun), 0
        async for each in _each(values):
            number += 1
            whole.add(number, task_values(each))
        data = whole.data()
        job = self._submit(begun.request, begun.bundle, begun.words, keep, naming, begun.listing)
        try:
            await job._begun()
            assert job.stdin is not None
            await job.stdin.write(data)
            await job.stdin.close()
            await self._wait_until(job, lambda: job._job.left or job._job.ended)
            job._check_departure()
        except BaseException:
            if not job._job.ended and not self.closed:
                job.kill()
            raise
        return job

    @property
    @abstractmethod
    def closed(self) -> bool: ...

    @abstractmethod
    async def _meant(self, nodes: str, exclude: str = "", *, job: int | str = "last") -> MeantNodes: ...

    @abstractmethod
    def _submit(
        self, request: Request, bundle: Bundle | None, words: tuple[str, ...], keep: Keep | None = None,
        naming: Naming = PLACES, listing: TaskListing | None = None,
    ) -> AsyncJob: ...  # fmt: skip

    @abstractmethod
    async def _wait_until(self, job: AsyncJob, ready: Callable[[], bool]) -> None: ...


async def _each(values: TaskValues) -> AsyncGenerator[TaskValue | Sequence[TaskValue]]:
    if isinstance(values, AsyncIterable):
        async for each in values:
            yield each
        return
    for each in values:
        yield each


async def _hand_out(job: AsyncJob, gathering: TaskGathering) -> None:
    data = gathering.outgoing()
    assert job.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # how it ended comes as an event
        if data:
            await job.stdin.write(data)
        if gathering.feed.is_over:
            await job.stdin.close()
