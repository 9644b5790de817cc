"""The processes of a job: one gproc job for each process that it has on the same node."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Mapping
from contextlib import suppress

import gproc
from gproc.adapters.invoke.attributes import Invocation
from gproc.adapters.invoke.job import Began
from gproc.adapters.invoke.placement import rounds
from gproc.adapters.invoke.redirect import OutputFiles
from gproc.client.options import JobOptions
from gproc.shown import reason_of


class NodeProcesses:
    """Independent processes on nodes: backend NORMAL."""

    def __init__(
        self, asked: Invocation, placed: Mapping[str, int], cluster: gproc.AsyncCluster, rlimits: Mapping[int, int]
    ) -> None:
        """placed: how many run on each node.  rlimits: their soft limits, as of the library."""
        self._asked = asked
        self._placed = placed
        self._cluster = cluster
        self._rlimits = rlimits
        self._jobs: list[gproc.AsyncJob] = []
        self._stopping = False

    async def run(self, began: Began, output: OutputFiles) -> list[str]:
        options = await self._options()
        results = await asyncio.gather(
            *(self._run_on(nodes, options, began, output) for nodes in rounds(self._placed)), return_exceptions=True
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

    def stop(self) -> None:
        self._stopping = True
        for job in self._jobs:
            _kill(job)

    async def _run_on(self, nodes: str, options: JobOptions, began: Began, output: OutputFiles) -> tuple[str, ...]:
        """Run one process on each of these nodes.  Returns the reasons for which it failed."""
        if self._stopping:
            return ("it was not started",)
        asked = self._asked
        try:
            words = [asked.executable, *asked.arguments]
            job = await self._cluster.popen(nodes, words, timeout=asked.time_limit_s, **options)
            self._jobs.append(job)
            if self._stopping:
                _kill(job)
            began(f"job {job.number} on {nodes}")
            async for event in job:
                if isinstance(event, gproc.Output):
                    output.write((job.number, event.node), event.stream, event.data)
        except BaseException:
            self.stop()
            raise
        return job.summary

    async def _options(self) -> JobOptions:
        """Raises: BundleError if the executable cannot be packed."""
        asked = self._asked
        limits = dict(self._rlimits)
        if asked.cpu_limit_s is not None:
            limits[resource.RLIMIT_CPU] = asked.cpu_limit_s
        options: JobOptions = {
            "env": os.environ | asked.environment,
            "rlimits": limits,
            "mem_bytes": asked.mem_bytes,
            "max_procs": asked.max_procs,
            "cpus": asked.cpus,
            "nice": asked.nice,
            "node_cwd": asked.directory,
        }
        if asked.staging:
            options["bundle"] = await asyncio.to_thread(gproc.pack, asked.executable, files=asked.files)
        else:
            options["local_bin"] = True
        return options


def _kill(job: gproc.AsyncJob) -> None:
    with suppress(gproc.GprocError):  # without a master, no job runs
        job.kill()
