"""What a client that asked for it is told of output that was not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gproc.wire.job_messages import NotKept

if TYPE_CHECKING:
    from gproc.service.live import LiveJob
    from gproc.wire.messages import Finished


def say_ended(live: LiveJob, finished: Finished) -> None:
    """Tell a job's client that a rank has ended.

    With the last one its client leaves: if its output is kept, that waits until the disk has taken it, or has not.
    """
    client, spool, number = live.attached, live.spool, live.job.number
    if client is None:
        return
    if spool is None or not live.job.over:
        client.send(finished)
        return

    def wrote() -> None:
        if spool.complete:
            spool.forget(wrote)
            if spool.problem:
                client.send(NotKept(number, f"not all of its output is kept: {spool.problem}"))
            client.send(finished)

    spool.tell(wrote)
