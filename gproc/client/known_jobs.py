"""The part of `gproc.Cluster` that names jobs: those that run or have run, no matter which program began them."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gproc.client.asking import noting, removals
from gproc.client.events import Event
from gproc.client.job import Job
from gproc.client.known import JobInfo, jobs_of, problems_of
from gproc.client.requests import check_nodes
from gproc.client.results import TimeoutExpired
from gproc.client.session import ClientSession
from gproc.client.session_job import SessionJob
from gproc.client.stack_info import StacksInfo, stacks_info
from gproc.naming.naming import MeantNodes
from gproc.wire.job_messages import JobAnswer

if TYPE_CHECKING:
    from gproc.client.engine import Engine


class KnownJobs(ABC):
    """What a cluster does with jobs that are named by number, by name, or as "last"."""

    _engine: Engine
    _jobs: dict[SessionJob, Job]

    def jobs(self, *, ended: bool = False) -> tuple[JobInfo, ...]:
        """The jobs of this user that run, the oldest first; of all users if this is root or the master's own user.

        ended: also those that have ended and of which there are records.  Raises: LinkLost.

            >>> [job.number for job in cluster.jobs() if job.name == "night"]
            [12]
        """
        return jobs_of(self._ask(lambda session: session.list_jobs(ended=ended)))

    def attach(self, job: int | str, *, nodes: str | None = None) -> Job:
        """Go back to a job that runs: its events from now on.  job: its number, its name, or "last".

        `stdin` of the result is None if the job has none, or another client gives it its input.  If this program ends,
        or calls `leave`, the job goes on.  nodes: only these.

        Raises: JobRejected if there is no such job of this user; LinkLost.

            >>> cluster.attach("night").wait()
            0
        """
        meant = self._known(nodes, job)
        return self._view(
            job, lambda session, name: session.view(name, meant, start=False, follow=True, control=True)
        )

    def logs(
        self, job: int | str, *, nodes: str | None = None, follow: bool = False, times: bool = False
    ) -> Iterator[Event]:
        """What a job has written, as far as it is kept: `Output`, `Skipped`, and `Exited` for each node that has ended.

        follow: go on until it ends.  times: each `Output` has its `time_s`.  nodes: only these.
        Raises: JobRejected if there is no such job of this user, or none of its output was kept; LinkLost.
        """
        meant = self._known(nodes, job)
        viewed = self._view(job, lambda session, name: session.view(name, meant, follow=follow, moments=times))
        yield from viewed

    def wait(self, job: int | str, *, timeout: float | None = None) -> int:
        """Wait for the end of a job.  Returns what `gproc e` would end with.

        timeout: in seconds.  Raises: TimeoutExpired, and the job goes on; JobRejected, LinkLost.
        """
        viewed = self._view(job, lambda session, name: session.view(name, output=False, follow=True))
        try:
            return viewed.wait(timeout)
        except TimeoutExpired:
            viewed.leave()
            raise

    def kill(self, job: int | str, signum: int = signal.SIGTERM, *, nodes: str | None = None) -> None:
        """Send a signal to every process of a job, or to those on some nodes.  Raises: JobRejected, LinkLost."""
        meant = self._known(nodes, job)
        self._ask(lambda session: session.kill(str(job), signum, meant.nodes))

    def stacks(self, job: int | str, *, nodes: str | None = None, debugger: bool = False) -> StacksInfo:
        """Where the processes of a running job are, as `gproc stacks` shows it.

        nodes: only these.  debugger: also by gdb, which stops each process for a moment.  It takes up to 3 s if a node
        does not answer, with `debugger` 12.

        Raises: JobRejected if there is no such job of this user, or it has ended; SpecError, UsageError, LinkLost.

            >>> cluster.stacks("night").elsewhere
            ('1/7',)
        """
        meant = self._known(nodes, job)
        answer = self._ask(lambda session: session.ask_stacks(str(job), meant.nodes, debugger=debugger))
        return stacks_info(answer, meant)

    def remove(self, *jobs: int | str) -> tuple[str, ...]:
        """Remove the records and the output of jobs that have ended.

        Returns a sentence for each that could not be removed.  Raises: JobRejected, LinkLost; UsageError, and then none
        is removed.  If very many are removed in parts, and a later part fails, the error has the sentences so far as
        notes.
        """
        problems: list[str] = []
        with noting(problems):
            for part in removals([str(job) for job in jobs]):
                answer = self._ask(lambda session, part=part: session.remove(part))  # type: ignore[misc]
                problems += problems_of(answer)
        return tuple(problems)

    def _view(self, job: int | str, look: Callable[[ClientSession, str], SessionJob]) -> Job:
        def view(session: ClientSession) -> Job:
            known = look(session, str(job))
            found = self._jobs[known] = Job(self._engine, known, (), stdin=False)
            return found

        viewed = self._engine.call(view)
        viewed._begun()
        viewed._be_viewed()
        return viewed

    def _known(self, nodes: str | None, job: int | str) -> MeantNodes:
        """What NODES means among the nodes of a job.  Raises: as `_meant`; UsageError if a host is unknown."""
        if nodes is None:
            return MeantNodes("", "")
        meant = self._meant(nodes, job=job)
        meant.check()
        check_nodes(meant.nodes, "")
        return meant

    @abstractmethod
    def _ask(self, question: Callable[[ClientSession], int]) -> JobAnswer: ...

    @abstractmethod
    def _meant(self, nodes: str, exclude: str = "", *, job: int | str = "last") -> MeantNodes: ...
