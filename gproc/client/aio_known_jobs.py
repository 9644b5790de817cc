"""`gproc.client.known_jobs` on an asyncio event loop."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from gproc.client.aio_job import AsyncJob
from gproc.client.asking import noting, removals
from gproc.client.connection import Connection
from gproc.client.events import Event
from gproc.client.known import JobInfo, jobs_of, problems_of
from gproc.client.requests import check_nodes
from gproc.client.session import ClientSession
from gproc.client.session_job import SessionJob
from gproc.client.stack_info import StacksInfo, stacks_info
from gproc.naming.naming import MeantNodes
from gproc.wire.job_messages import JobAnswer


class AsyncKnownJobs(ABC):
    """What a cluster on an event loop does with jobs that are named."""

    _connection: Connection

    async def jobs(self, *, ended: bool = False) -> tuple[JobInfo, ...]:
        """The jobs of this user, as of `gproc.Cluster.jobs`.  Raises: LinkLost."""
        return jobs_of(await self._ask(lambda session: session.list_jobs(ended=ended)))

    async def attach(self, job: int | str, *, nodes: str | None = None) -> AsyncJob:
        """Go back to a job that runs, as of `gproc.Cluster.attach`.  Raises: JobRejected, LinkLost."""
        session = self._connection.session
        meant = await self._known(nodes, job)
        return await self._view(session.view(str(job), meant, start=False, follow=True, control=True))

    async def logs(
        self, job: int | str, *, nodes: str | None = None, follow: bool = False, times: bool = False
    ) -> AsyncIterator[Event]:
        """What a job has written, as of `gproc.Cluster.logs`: `async for event in cluster.logs(job)`."""
        session = self._connection.session
        meant = await self._known(nodes, job)
        viewed = await self._view(session.view(str(job), meant, follow=follow, moments=times))
        async for event in viewed:
            yield event

    async def wait(self, job: int | str) -> int:
        """Wait for the end of a job.  Returns what `gproc e` would end with.  Raises: JobRejected, LinkLost."""
        return await (await self._view(self._connection.session.view(str(job), output=False, follow=True))).wait()

    async def kill(self, job: int | str, signum: int = signal.SIGTERM, *, nodes: str | None = None) -> None:
        """Send a signal to every process of a job, or to those on some nodes.  Raises: JobRejected, LinkLost."""
        meant = await self._known(nodes, job)
        await self._ask(lambda session: session.kill(str(job), signum, meant.nodes))

    async def stacks(self, job: int | str, *, nodes: str | None = None, debugger: bool = False) -> StacksInfo:
        """Where the processes of a running job are, as of `gproc.Cluster.stacks`.  Raises: JobRejected, LinkLost."""
        meant = await self._known(nodes, job)
        answer = await self._ask(lambda session: session.ask_stacks(str(job), meant.nodes, debugger=debugger))
        return stacks_info(answer, meant)

    async def remove(self, *jobs: int | str) -> tuple[str, ...]:
        """Remove records and output, as of `gproc.Cluster.remove`.  Raises: JobRejected, LinkLost, UsageError."""
        problems: list[str] = []
        with noting(problems):
            for part in removals([str(job) for job in jobs]):
                answer = await self._ask(lambda session, part=part: session.remove(part))  # type: ignore[misc]
                problems += problems_of(answer)
        return tuple(problems)

    async def _known(self, nodes: str | None, job: int | str) -> MeantNodes:
        if nodes is None:
            return MeantNodes("", "")
        meant = await self._meant(nodes, job=job)
        meant.check()
        check_nodes(meant.nodes, "")
        return meant

    @abstractmethod
    async def _view(self, known: SessionJob) -> AsyncJob: ...

    @abstractmethod
    async def _ask(self, question: Callable[[ClientSession], int]) -> JobAnswer: ...

    @abstractmethod
    async def _meant(self, nodes: str, exclude: str = "", *, job: int | str = "last") -> MeantNodes: ...
