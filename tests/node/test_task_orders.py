"""Orders about tasks reach a node's `TaskHost` in the order in which the client said them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from types import SimpleNamespace
from typing import Any

from gproc.launch.protocol import ProgramEnded, SpawnFailed
from gproc.node.pipes import close_all
from gproc.node.tasks import TaskHost
from gproc.relay.delivery import KEPT_BYTES
from gproc.request.spec import Caller, Request
from gproc.trust.signing import SESSION_BYTES
from gproc.trust.ticket import Ticket
from gproc.wire.tasks import (
    Assign,
    Recall,
    Setup,
    TaskOrder,
    TaskReport,
    TaskReportReader,
    TasksReady,
    TasksReturned,
    order_record,
)

WINDOW_BYTES = 4096

TICKET = Ticket(
    session=bytes(SESSION_BYTES), sequence=1, job=1, start_by_ms=1, caller=Caller(os.getuid(), os.getgid(), ()),
    request=Request(nodes="1", argv=(b"true",), action="map", stdin=True),
)  # fmt: skip


def test_orders_that_had_to_wait_for_a_bundle_are_not_overtaken_by_those_behind_them() -> None:
    """A node whose bundle took longer than a window of orders had them mixed up, and gave up its part of the job.

    When it takes the orders that came meanwhile, there is room for others, and the relay brings those at once.
    """

    async def reports() -> list[TaskReport]:
        said: list[TaskReport] = []
        reader, waiting = TaskReportReader(), [order_record(Recall())]

        def consumed(size: int) -> None:
            if size and waiting:
                host.write(waiting.pop())

        services: Any = SimpleNamespace()  # no task begins
        host = TaskHost(
            services, TICKET, None, (), 0, keep_bytes=KEPT_BYTES, say=lambda data: said.extend(reader.feed(data)),
            consumed=consumed, ended=lambda ending: None,
        )  # fmt: skip
        order = order_record(Setup(slots=2))
        host.write(order[:5], order[5:])
        await asyncio.sleep(0)  # reports go together
        host.write(b"")
        return said

    assert asyncio.run(reports()) == [TasksReady(2), TasksReturned((), recalled=True)]


def test_a_client_that_gives_orders_and_reads_no_reports_is_at_fault() -> None:
    """What it did not read waited in the memory of the node, one report for each order."""

    async def endings() -> list[ProgramEnded | SpawnFailed]:
        ends: list[ProgramEnded | SpawnFailed] = []
        services: Any = SimpleNamespace()
        host = TaskHost(
            services, TICKET, None, (), 0, keep_bytes=KEPT_BYTES, say=lambda data: None, consumed=lambda size: None,
            ended=ends.append,
        )  # fmt: skip
        host.write(order_record(Setup(slots=2)))
        recalls = order_record(Recall()) * 1000
        for _ in range(3 * KEPT_BYTES // len(recalls)):
            host.write(recalls)
            if ends:
                break
        return ends

    [end] = asyncio.run(endings())
    assert isinstance(end, SpawnFailed)
    assert end.message == "it gives orders and does not read the reports"


def test_what_waits_of_the_output_of_tasks_follows_the_window_of_their_job() -> None:
    """It was 1 MiB, however small the windows of a user's many jobs were."""

    async def said() -> tuple[int, int]:
        sizes: list[int] = []
        more = asyncio.Event()
        writers: list[subprocess.Popen[bytes]] = []

        def say(data: bytes) -> None:
            sizes.append(len(data))
            more.set()

        async def until(size: int) -> None:
            while sum(sizes) < size:
                more.clear()
                await more.wait()

        def spawn(ticket: Ticket, root: None, added: object, ends: tuple[int, int, int], *_: object, **__: bool) -> Any:
            writers.append(subprocess.Popen(["yes"], stdin=ends[0], stdout=ends[1], stderr=ends[2]))
            close_all(list(ends))
            return SimpleNamespace(signal=writers[-1].send_signal)

        services: Any = SimpleNamespace(spawn=spawn, take_turn=lambda user, heavy: True)
        host = TaskHost(
            services, TICKET, None, (), 0, keep_bytes=WINDOW_BYTES, say=say, consumed=lambda size: None,
            ended=lambda ending: None,
        )  # fmt: skip
        host.write(order_record(Setup(slots=4)), order_record(Assign(tuple(TaskOrder(n, ()) for n in range(4)))))
        await until(WINDOW_BYTES)
        unread = sum(sizes)
        host.credit(unread)
        await until(unread + WINDOW_BYTES)
        for writer in writers:
            writer.kill()
            writer.wait()
        return unread, sum(sizes) - unread

    assert max(asyncio.run(said())) < 2 * WINDOW_BYTES
