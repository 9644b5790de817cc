"""A job of a client: one gproc job for each process that it has on the same node."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import gproc
from gproc.adapters.invoke.attributes import Invocation
from gproc.adapters.invoke.placement import rounds
from gproc.adapters.invoke.protocol import Status
from gproc.adapters.invoke.redirect import OutputFiles
from gproc.adapters.invoke.states import JobStates, end_status
from gproc.client.options import JobOptions
from gproc.shown import reason_of

log: Final = logging.getLogger("gproc.invoke")

Notify = Callable[["InvokedJob", Status, str], None]


class InvokedJob:
    """A job that was accepted.

    id: what its client calls it.  placed: how many processes run on each node.  destroyed: its client wants its end.
    """

    def __init__(
        self, id: str, asked: Invocation, placed: Mapping[str, int], files: OutputFiles, notify: Notify
    ) -> None:
        """notify: is called with each new status and its reason."""
        self.id = id
        self.placed = placed
        self.destroyed = False
        self._asked = asked
        self._states = JobStates()
        self._files = files
        self._notify = notify
        self._jobs: list[gproc.AsyncJob] = []
        self._stopping = False

    @property
    def status(self) -> Status:
        return self._states.status

    @property
    def ended(self) -> bool:
        return self._states.ended

    async def run(self, cluster: gproc.AsyncCluster, rlimits: Mapping[int, int]) -> None:
        """Start the processes, take their output, and wait for their end.

        rlimits: soft limits of the processes, as of the library.
        """
        try:
            reasons = await self._run(cluster, rlimits)
        except (gproc.GprocError, OSError, ValueError) as error:
            reasons = [reason_of(error)]
        self._files.close()
        reason = "; ".join(reasons)
        status = end_status(failed=bool(reasons), destroyed=self.destroyed)
        log.info("%s: %s%s", self.id, status, f": {reason}" if reason else "")
        self._move(status, reason)

    @property
    def reasons(self) -> bool:
        """Whether the client wants to know why a status changed."""
        return self._asked.reasons

    def destroy(self) -> None:
        """Kill all processes, and start no more."""
        self.destroyed = True
        self._stop()

    def fail(self, reason: str) -> None:
        """Tell the client that it failed, if it has not ended."""
        self._move("FAILED", reason)

    async def _run(self, cluster: gproc.AsyncCluster, rlimits: Mapping[int, int]) -> list[str]:
        """Returns the reasons for which it failed."""
        options = await self._options(rlimits)
        results = await asyncio.gather(
            *(self._run_on(cluster, nodes, options) for nodes in rounds(self.placed)), return_exceptions=True
        )
        reasons: list[str] = []
        for result in results:
            if isinstance(result, gproc.GprocError):
                reasons.append(reason_of(result))
            elif isinstance(result, BaseException):
                raise result
            else:
                reasons += result
        return reasons

    async def _run_on(self, cluster: gproc.AsyncCluster, nodes: str, options: JobOptions) -> tuple[str, ...]:
        """Run one process on each of these nodes.  Returns the reasons for which it failed."""
        if self._stopping:
            return ("it was not started",)
        asked = self._asked
        try:
            job = await cluster.popen(
                nodes, [asked.executable, *asked.arguments], timeout=asked.time_limit_s, **options
            )
            self._jobs.append(job)
            if self._stopping:
                _kill(job)
            self._move("ACTIVE", f"job {job.number} on {nodes}")
            async for event in job:
                if isinstance(event, gproc.Output):
                    self._files.write((job.number, event.node), event.stream, event.data)
        except BaseException:
            self._stop()
            raise
        return job.summary

    async def _options(self, rlimits: Mapping[int, int]) -> JobOptions:
        """Raises: BundleError if the executable cannot be packed."""
        asked = self._asked
        limits = dict(rlimits)
        if asked.cpu_limit_s is not None:
            limits[resource.RLIMIT_CPU] = asked.cpu_limit_s
        options: JobOptions = {
            "env": os.environ | asked.environment,
            "rlimits": limits,
            "mem_bytes": asked.mem_bytes,
            "max_procs": asked.max_procs,
            "cpus": asked.cpus,
            "nice": asked.nice,
        }
        if asked.staging:
            options["bundle"] = await asyncio.to_thread(gproc.pack, asked.executable, files=asked.files)
            options["node_cwd"] = asked.work_directory
        else:
            options["local_bin"] = True
            options["node_cwd"] = asked.work_directory or os.path.dirname(asked.executable)
        return options

    def _stop(self) -> None:
        self._stopping = True
        for job in self._jobs:
            _kill(job)

    def _move(self, status: Status, reason: str) -> None:
        if self._states.move(status):
            self._notify(self, status, reason)


def _kill(job: gproc.AsyncJob) -> None:
    with suppress(gproc.GprocError):  # without a master, no job runs
        job.kill()
