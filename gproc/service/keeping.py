"""Tells a client that asked for kept output what was not kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gproc.wire.job_messages import NotKept

if TYPE_CHECKING:
    from gproc.service.live import LiveJob
    from gproc.wire.messages import Finished

PATIENCE_S: Final = 2.0
"""How long a client waits for a disk that does not answer, when its job is over."""


def say_ended(live: LiveJob, finished: Finished) -> None:
    """Tell a job's client that a rank has ended.

    With the last one its client leaves.  If the job's output is kept, it is told first whether the disk has taken it.
    """
    client, spool, number = live.attached, live.spool, live.job.number
    if client is None:
        return
    if spool is None or not live.job.over:
        client.send(finished)
        return

    def say(problem: str) -> None:
        spool.forget(wrote)
        late.cancel()
        if problem:
            client.send(NotKept(number, problem))
        client.send(finished)

    def wrote() -> None:
        if spool.complete:
            say(spool.problem and f"not all of its output is kept: {spool.problem}")

    untold = f"whether all of its output is kept is not known: the disk has not answered for {PATIENCE_S:.0f} s"
    late = asyncio.get_running_loop().call_later(PATIENCE_S, say, untold)
    spool.tell(wrote)
