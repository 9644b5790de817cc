"""The processes of a job: one gproc job for each process that it has on the same node."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import BinaryIO, Final

import gproc
from gproc.adapters.invoke.attributes import Invocation
from gproc.adapters.invoke.job import NOT_STARTED, Began, WorkEnd
from gproc.adapters.invoke.placement import rounds
from gproc.adapters.invoke.redirect import OutputFiles
from gproc.client.options import JobOptions
from gproc.shown import reason_of

READ_BYTES: Final = 256 << 10


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

    async def run(self, began: Began, output: OutputFiles) -> WorkEnd:
        options = await self._options()
        results = await asyncio.gather(
            *(self._run_on(nodes, options, began, output) for nodes in rounds(self._placed)), return_exceptions=True
        )
        ends: list[WorkEnd] = []
        for result in results:
            if isinstance(result, gproc.GprocError):
                ends.append(WorkEnd(result.exit_status, (reason_of(result),)))
            elif isinstance(result, BaseException):
                raise result
            else:
                ends.append(result)
        return WorkEnd(max(end.status for end in ends), tuple(reason for end in ends for reason in end.reasons))

    def stop(self) -> None:
        self._stopping = True
        for job in self._jobs:
            _kill(job)

    async def _run_on(self, nodes: str, options: JobOptions, began: Began, output: OutputFiles) -> WorkEnd:
        """Run one process on each of these nodes."""
        if self._stopping:
            return NOT_STARTED
        asked = self._asked
        try:
            with nullcontext() if asked.stdin_file is None else open(asked.stdin_file, "rb") as source:  # noqa: ASYNC230
                job = await self._cluster.popen(
                    nodes, [asked.executable, *asked.arguments], stdin=gproc.DEVNULL if source is None else gproc.PIPE,
                    timeout=asked.time_limit_s, **options,
                )  # fmt: skip
                self._jobs.append(job)
                if self._stopping:
                    _kill(job)
                began(f"job {job.number} on {nodes}")
                feeding = asyncio.create_task(self._feed(job, source))
                async for event in job:
                    if isinstance(event, gproc.Output):
                        output.write((job.number, event.node), event.stream, event.data)
                await feeding
        except BaseException:
            self.stop()
            raise
        return WorkEnd(job.returncode or 0, job.summary)

    async def _feed(self, job: gproc.AsyncJob, source: BinaryIO | None) -> None:
        """Write a file to the standard input of a job."""
        if source is None or job.stdin is None:
            return
        try:
            while data := source.read(READ_BYTES):
                await job.stdin.write(data)
            await job.stdin.close()
        except BrokenPipeError:  # it has ended
            return
        except OSError:
            self.stop()
            raise

    async def _options(self) -> JobOptions:
        """Raises: BundleError if the executable cannot be packed."""
        asked = self._asked
        limits = dict(self._rlimits)
        if asked.cpu_limit_s is not None:
            limits[resource.RLIMIT_CPU] = asked.cpu_limit_s
        options: JobOptions = {
            "env": environment_of(asked),
            "rlimits": limits,
            "mem_bytes": asked.mem_bytes,
            "max_procs": asked.max_procs,
            "cpus": asked.cpus,
            "nice": asked.nice,
            "node_cwd": asked.directory,
        }
        if asked.staging:
            options["bundle"] = await asyncio.to_thread(
                gproc.pack, asked.executable, args=asked.arguments, files=asked.files
            )
        else:
            options["local_bin"] = True
        return options


def environment_of(asked: Invocation) -> dict[str, str]:
    return dict(asked.environment) if asked.clean else dict(os.environ) | asked.environment


def _kill(job: gproc.AsyncJob) -> None:
    with suppress(gproc.GprocError):  # without a master, no job runs
        job.kill()
