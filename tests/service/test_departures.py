"""Clients that leave their jobs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gproc.records.spool import SpoolEnd
from gproc.records.spooling import JobSpool
from gproc.request.spec import Request
from gproc.service.departures import Departures
from tests.loop import run


class WaitingJob:
    """What it needs never comes."""

    has_all = True
    job = SimpleNamespace(number=1, over=False, request=Request(nodes="1", argv=(b"x",)))

    def __init__(self) -> None:
        self.waits = 0

    async def all_is_here(self) -> None:
        self.waits += 1
        await asyncio.Event().wait()


def test_a_client_that_wants_to_leave_a_thousand_times_costs_the_master_as_much_as_once() -> None:
    async def leave() -> int:
        departures = Departures(cast(Any, None), cast(Any, None), cast(Any, None))
        job = WaitingJob()
        for _ in range(1000):
            departures.leave(cast(Any, None), cast(Any, job))
        await asyncio.sleep(0)
        return job.waits

    assert run(leave()) == 1


def test_a_client_has_not_left_before_what_nodes_have_let_go_of_is_on_the_disk() -> None:
    """After a crash just then, the next master had a job of which no node or disk had all of the output any more."""
    steps = run(leaving("run"))
    assert steps == ["pause", "pause", "noted", "written", "told", "pause"]


def test_a_client_leaves_a_list_of_tasks_at_once() -> None:
    """It ends with its master, so nothing of it has to be kept for the next one.  Its client waited for ever."""
    assert run(leaving("map")) == ["noted", "written", "told", "pause", "pause", "pause"]


async def leaving(action: Any) -> list[str]:
    """What happens as a client leaves, and what it waits for is kept one after the other."""
    steps: list[str] = []

    class KeptJob(WaitingJob):
        job = SimpleNamespace(number=1, over=False, request=Request(nodes="1", argv=(b"x",), action=action, stdin=True))
        input_log = SimpleNamespace(begun=asyncio.Event())
        received = SimpleNamespace(is_kept=False)

        def __init__(self) -> None:
            super().__init__()
            self.spool = JobSpool(cast(Any, None), 1, 0, SpoolEnd())

        async def all_is_here(self) -> None:
            pass

        def detach(self) -> None:
            pass

        def let_go(self) -> None:
            pass

    async def written() -> None:
        steps.append("written")

    book = SimpleNamespace(note=lambda live: steps.append("noted"), keeper=SimpleNamespace(written=written))
    departures = Departures(cast(Any, None), cast(Any, book), cast(Any, None))
    departures.keep_input = lambda live: None  # type: ignore[method-assign]
    client = SimpleNamespace(jobs={}, link=SimpleNamespace(lost=False, send=lambda _: steps.append("told")))
    job = KeptJob()
    departures.leave(cast(Any, client), cast(Any, job))
    for begin in (lambda: None, lambda: setattr(job.received, "is_kept", True), job.input_log.begun.set):
        begin()
        job.spool.wrote(SpoolEnd(), complete=False)
        for _ in range(5):
            await asyncio.sleep(0)
        steps.append("pause")
    return steps


def test_a_job_that_ends_while_its_client_leaves_it_is_not_kept() -> None:
    """It was given a spool that was never ended, so its record said for ever that it runs."""

    class EndingJob(WaitingJob):
        async def all_is_here(self) -> None:
            self.job = SimpleNamespace(number=1, over=True)

    async def leave() -> None:
        departures = Departures(cast(Any, None), cast(Any, None), cast(Any, None))
        client = SimpleNamespace(link=SimpleNamespace(lost=False))
        departures.leave(cast(Any, client), cast(Any, EndingJob()))
        (leaving,) = departures._tasks
        await leaving

    run(leave())
