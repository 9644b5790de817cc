"""Jobs of a master that has crashed, at the next one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gproc.nodespec import Place
from gproc.records.positions import FoundSpool
from gproc.relay.receipt import RunOfNode
from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Returned
from gproc.request.spec import Caller, Request
from gproc.service.continuing import fill
from gproc.service.jobs import JobRecord
from gproc.service.live import LiveJob, SignedJob
from gproc.wire.messages import Signed


@pytest.mark.parametrize(
    ("outcome", "given_up"),
    [
        (Lost("gone"), True),
        (NotStarted("too many have failed"), True),
        (Killed(9, started=False), True),
        (Killed(9, started=True), False),
        (Returned(0), False),
    ],
)
def test_a_node_of_which_it_was_said_that_nothing_runs_there_is_not_sent_the_job_again(
    outcome: Outcome, given_up: bool
) -> None:
    job = JobRecord(1, Caller(0, 0, ()), Request(nodes="1-2", argv=(b"x",)), [Place((1,)), Place((2,))], 0.0)
    job.finish(0, outcome)
    runs = [RunOfNode(b"0", b""), RunOfNode(b"1", b"")]
    signer: Any = SimpleNamespace()
    live = LiveJob(job, runs, SignedJob(Signed(b"", b""), signer), None, lambda _: None)
    life = SimpleNamespace(block_bytes=1, window_bytes=1, orders=())
    interrupted: Any = SimpleNamespace(found=FoundSpool(), life=life)
    fill(live, interrupted)
    assert (0 in live.unreached.given_up) is given_up
