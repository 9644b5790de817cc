"""What `gfork --backends NODES` runs beside itself: a program on the library that keeps a gfork running on every node.

It is a process of its own, since gfork waits for all of its children, and the library may have some too.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from gproc.adapters.gfork.masters import pause_s
from gproc.client.aio import AsyncCluster, connect_async
from gproc.client.events import Exited, Output, Started
from gproc.errors import GprocError, JobRejected
from gproc.request.wording import describe
from gproc.shown import reason_of, shown, shown_text


def main() -> int:
    """argv: "local" if the nodes have the programs, else "sent"; the nodes; the command.

    Ends by SIGTERM, or when standard input ends: then gfork is gone.
    """
    _, how, nodes, *command = sys.argv
    return asyncio.run(_run(_Service(tuple(command), how == "local"), nodes))


class _Service(msgspec.Struct, frozen=True):
    """What runs on every node.  is_local: of the node's own programs."""

    command: tuple[str, ...]
    is_local: bool


async def _run(service: _Service, nodes: str) -> int:
    loop = asyncio.get_running_loop()
    keeping = asyncio.ensure_future(_keep(service, nodes))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, keeping.cancel)

    def gone() -> None:
        loop.remove_reader(0)  # its end can be read for ever
        keeping.cancel()

    loop.add_reader(0, gone)
    try:
        await keeping
    except asyncio.CancelledError:
        return 0
    except (GprocError, OSError) as error:
        _say(reason_of(error))
    except ExceptionGroup as errors:  # of tasks: the first one is why the others ended
        _say(reason_of(errors.exceptions[0]))
    return GprocError.exit_status


async def _keep(service: _Service, nodes: str) -> None:
    async with connect_async() as cluster, asyncio.TaskGroup() as group:

        def again(some: str, failures: int) -> None:
            group.create_task(serve(some, failures, pause_s(failures)))

        async def serve(some: str, failures: int, wait_s: float) -> None:
            await asyncio.sleep(wait_s)
            await _serve(cluster, service, some, failures, again)

        group.create_task(serve(nodes, 0, 0))


async def _serve(
    cluster: AsyncCluster, service: _Service, nodes: str, failures: int, again: Callable[[str, int], None]
) -> None:
    """Run the service on the nodes.  again: called for each node on which it has ended, and for those that are missing.

    failures: how often it has failed there, one time after the other.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        job = await cluster.popen(nodes, service.command, local_bin=service.is_local, cwd="/")
    except JobRejected as error:  # none of these nodes is there now; those of other jobs serve on
        _say(f"{error}; tried again in {pause_s(failures + 1):g} s")
        again(nodes, failures + 1)
        return
    try:
        async for event in job:
            match event:
                case Started(_, missing):
                    if missing:
                        _say(f"{missing}: not connected; tried again in {pause_s(failures + 1):g} s")
                        again(missing, failures + 1)
                case Output(node, _, data):
                    for line in data.splitlines():
                        _say(f"{node}: {shown(line)}")
                case Exited(node, outcome):
                    failed = 1 if loop.time() - began_s > _STEADY_S else failures + 1
                    _say(f"{node}: {describe(outcome)}; it is started again in {pause_s(failed):g} s")
                    again(f"={node}", failed)
    except asyncio.CancelledError:
        job.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await job.wait()
        raise


_STEADY_S: Final = 60.0
"""Seconds: a data node that ran for this long is started again as if it had never failed."""

_GRACE_S: Final = 1.5
"""For the data nodes, which take themselves out of the front end's list: gfork kills this process after 2 s."""


def _say(text: str) -> None:
    sys.stderr.write(f"gfork: data nodes: {shown_text(text)}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
