"""Jobs whose end is on no disk: nodes keep their output, but only for a limited number of jobs and a limited time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from gproc.records.keeper import RecordKeeper
from gproc.records.record import Keeping
from gproc.service import holding
from gproc.service.holding import HELD_MAX, HeldJobs
from gproc.service.live import LiveJob
from tests.loop import run
from tests.patience import PATIENCE_S
from tests.records.test_records import job


def test_nodes_forget_jobs_when_a_disk_has_taken_their_records_at_last(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(holding, "AGAIN_S", 0.01)

    async def work() -> None:
        keeper = RecordKeeper(str(tmp_path), Keeping())
        released: list[object] = []
        last = asyncio.Event()

        def release(live: LiveJob) -> None:
            released.append(live)
            if live == cast(Any, HELD_MAX + 1):
                last.set()

        held = HeldJobs(keeper, release)
        keeper._database._connection.execute("pragma query_only = on")
        for number in range(HELD_MAX + 2):
            keeper.note(number, lambda number=number: job(number))  # type: ignore[misc]
            await held.settle(cast(Any, number))
        assert released == [0, 1], "more are not held"
        keeper._database._connection.execute("pragma query_only = off")
        async with asyncio.timeout(PATIENCE_S):
            await last.wait()
        assert released == list(range(HELD_MAX + 2))
        await held.settle(cast(Any, "the next"))
        assert released[-1] == "the next"
        keeper.close()

    run(work())
