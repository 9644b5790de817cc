"""The class that psij finds under the name `gproc`."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import time
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from psij import (
    InvalidJobException,
    Job,
    JobExecutor,
    JobExecutorConfig,
    JobState,
    JobStatus,
    SubmitException,
)

import gproc
from gproc.adapters.invoke.job import WorkEnd, Workload, run_workload
from gproc.adapters.invoke.mpi import MpiProgram, NoLauncher, check_launcher
from gproc.adapters.invoke.placement import NoSuchNode, least_busy
from gproc.adapters.invoke.processes import NodeProcesses
from gproc.adapters.invoke.redirect import OutputFiles
from gproc.adapters.invoke.tree import KnownTree
from gproc.adapters.psij.loop import background
from gproc.adapters.psij.specification import JobPlan, plan_of
from gproc.errors import EXIT_GPROC
from gproc.shown import reason_of

KEPT: Final = 1000
"""How many jobs that have ended can still be attached to."""


class SubmittedJob:
    """A job of this process.  jobs: the caller's objects for it: the one that was submitted, and those attached later.

    status: what they were told last; it is changed in the thread of callbacks alone.
    placed: how many processes run on each node.
    """

    def __init__(
        self, native_id: str, job: Job, plan: JobPlan, placed: Mapping[str, int], work: Workload, output: OutputFiles
    ) -> None:
        self.native_id = native_id
        self.jobs = [job]
        self.plan = plan
        self.placed = placed
        self.work = work
        self.output = output
        self.cancelled = False
        self.status = JobStatus(JobState.QUEUED, time=time.time(), metadata={"nativeId": native_id})


class Register:
    """All jobs of this process, by native ID."""

    def __init__(self) -> None:
        self._serials = itertools.count(1)
        self._jobs: dict[str, SubmittedJob] = {}
        self._ended: deque[str] = deque()

    def new_id(self) -> str:
        return f"gproc-{os.getpid()}-{next(self._serials)}"

    def add(self, job: SubmittedJob) -> None:
        self._jobs[job.native_id] = job

    def ended(self, job: SubmittedJob) -> None:
        self._ended.append(job.native_id)
        if len(self._ended) > KEPT:
            del self._jobs[self._ended.popleft()]

    def find(self, native_id: str | None) -> SubmittedJob:
        """Raises: SubmitException."""
        found = self._jobs.get(native_id or "")
        if found is None:
            raise SubmitException(f"this process has no job {native_id}: a job of gproc ends with its process")
        return found

    def running(self) -> list[str]:
        return [id for id, job in list(self._jobs.items()) if not job.status.final]


REGISTER: Final = Register()


class GprocJobExecutor(JobExecutor):
    """Runs jobs on a gproc tree.

    url: the socket of the master; None: the one that `gproc e` would use.  Jobs end with the process that submitted
    them.
    """

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        super().__init__(url=url, config=config or JobExecutorConfig())
        self._background = background()
        self._tree = KnownTree(url)
        self._placing = asyncio.Lock()
        self._busy: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, job: Job) -> None:
        """As of psij: the job's native ID is set when this returns.

        Raises: InvalidJobException; SubmitException if there is no master, or not enough nodes.
        """
        plan = plan_of(self._check_job(job))
        try:
            submitted = self._background.result(self._prepared(job, plan))
        except (gproc.GprocError, NoSuchNode, NoLauncher, OSError, ValueError) as error:
            _remove(plan.node_file)
            kind = InvalidJobException if isinstance(error, gproc.UsageError) else SubmitException
            raise kind(reason_of(error)) from error
        job._native_id = submitted.native_id
        REGISTER.add(submitted)
        self._set_job_status(job, submitted.status)
        self._background.soon(partial(self._start, submitted))

    def cancel(self, job: Job) -> None:
        """Kill all processes of the job.  Raises: SubmitException if it was not submitted by this process."""
        submitted = REGISTER.find(job.native_id)
        submitted.cancelled = True
        self._background.soon(submitted.work.stop)

    def list(self) -> list[str]:
        """The native IDs of the jobs of this process that have not ended."""
        return REGISTER.running()

    def attach(self, job: Job, native_id: str) -> None:
        """Raises: InvalidJobException; SubmitException if the job is not one of this process."""
        if job.status.state != JobState.NEW:
            raise InvalidJobException("Job must be in the NEW state")
        submitted = REGISTER.find(native_id)
        job.executor = self
        job._native_id = native_id

        def told() -> None:
            submitted.jobs.append(job)
            self._set_job_status(job, submitted.status)

        self._background.tell(told)

    async def _prepared(self, job: Job, plan: JobPlan) -> SubmittedJob:
        """Choose the nodes and open the files."""
        asked = plan.asked
        async with self._placing:
            nodes = await self._tree.nodes_for(asked)
            cluster = await self._tree.cluster()
            if asked.backend != "NORMAL":
                await check_launcher(asked.mpirun)
        if len(nodes) < plan.node_count:
            raise NoSuchNode(f"the job wants {plan.node_count} nodes, and {asked.nodes} selects {len(nodes)}")
        placed = {node.node: plan.per_node for node in least_busy(nodes, self._busy)[: plan.node_count]}
        rlimits = {resource.RLIMIT_NOFILE: resource.getrlimit(resource.RLIMIT_NOFILE)[0]}
        work: Workload = (
            NodeProcesses(asked, placed, cluster, rlimits)
            if asked.backend == "NORMAL"
            else MpiProgram(asked, placed, rlimits, self.url)
        )
        submitted = SubmittedJob(REGISTER.new_id(), job, plan, placed, work, OutputFiles(asked.redirect))
        self._busy.update(placed)
        return submitted

    def _start(self, submitted: SubmittedJob) -> None:
        task = asyncio.ensure_future(self._run(submitted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, submitted: SubmittedJob) -> None:
        began = partial(self._tell, submitted, JobState.ACTIVE)
        end = await run_workload(submitted.work, lambda _: began(), submitted.output)
        if end.status == EXIT_GPROC:  # the nodes may be others now
            self._tree.forget()
        if lost := submitted.output.lost:
            end = WorkEnd(max(end.status, EXIT_GPROC), (*end.reasons, *lost))
        _remove(submitted.plan.node_file)
        self._busy.subtract(submitted.placed)
        state = JobState.FAILED if end.status else JobState.COMPLETED
        if end.status and submitted.cancelled:
            state = JobState.CANCELED
        self._tell(submitted, state, end)
        REGISTER.ended(submitted)

    def _tell(self, submitted: SubmittedJob, state: JobState, end: WorkEnd | None = None) -> None:
        status = JobStatus(state, time=time.time())
        if end is not None:
            status = JobStatus(state, time=time.time(), exit_code=end.status, message="; ".join(end.reasons) or None)

        def told() -> None:
            submitted.status = status
            for job in submitted.jobs:
                self._set_job_status(job, status)

        self._background.tell(told)


def _remove(file: str | None) -> None:
    if file is not None:
        with suppress(FileNotFoundError):
            os.unlink(file)
