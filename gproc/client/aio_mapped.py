"""`AsyncCluster.map`: tasks of one job on an asyncio event loop."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Unpack

from gproc.client.aio_job import AsyncJob
from gproc.client.options import Args, JobOptions, keep_of
from gproc.client.tasks import Listed, TaskGathering, TaskResult, TaskValue, tasks_of
from gproc.naming.naming import PLACES, MeantNodes, Naming
from gproc.packager import Bundle
from gproc.request.spec import Request
from gproc.wire.job_messages import Keep


class AsyncTaskCluster(ABC):
    """What a cluster on an event loop does with tasks."""

    async def map(
        self, nodes: str, args: Args, values: Iterable[TaskValue | Sequence[TaskValue]], *, ordered: bool = True,
        per_node: int = 0, timeout: float | None = None, **options: Unpack[JobOptions],
    ) -> AsyncIterator[TaskResult]:  # fmt: skip
        """As `gproc.Cluster.map`.  If the iteration is left, or its task is cancelled, what still runs is killed.

        >>> async for result in cluster.map("./.", ["./simulate", "--seed"], range(1000)):
        ...     print(result.index, result.returncode)
        """
        meant = await self._meant(nodes, options.get("exclude", ""))
        options["exclude"] = meant.exclude
        begun = tasks_of(meant.nodes, args, per_node=per_node, timeout=timeout, options=options)
        job = self._submit(begun.request, begun.bundle, begun.words, keep_of(options), meant.naming)
        try:
            await job._begun()
            gathering = TaskGathering(job._job, begun.feed, Listed(values), ordered=ordered)
            while not job._job.ended or job._events:
                await _hand_out(job, gathering)
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
            if not job._job.ended and not self.closed:
                job.kill()

    @property
    @abstractmethod
    def closed(self) -> bool: ...

    @abstractmethod
    async def _meant(self, nodes: str, exclude: str = "", *, job: int | str = "last") -> MeantNodes: ...

    @abstractmethod
    def _submit(
        self, request: Request, bundle: Bundle | None, words: tuple[str, ...], keep: Keep | None = None,
        naming: Naming = PLACES,
    ) -> AsyncJob: ...  # fmt: skip


async def _hand_out(job: AsyncJob, gathering: TaskGathering) -> None:
    data = gathering.outgoing()
    assert job.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # how it ended comes as an event
        if data:
            await job.stdin.write(data)
        if gathering.feed.is_over:
            await job.stdin.close()
