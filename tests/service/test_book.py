"""What the master writes down of jobs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gproc.nodespec import Place
from gproc.records.spool import SpoolEnd
from gproc.records.spooling import JobSpool
from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Returned
from gproc.request.spec import Caller, Request
from gproc.service.book import record_of
from gproc.service.continuing import is_all_kept
from gproc.service.jobs import JobRecord


def test_no_record_says_that_a_program_has_ended_before_its_output_is_on_the_disk() -> None:
    """The master crashed between the two, and the next one asked no node for that output."""
    job = JobRecord(1, Caller(0, 0, ()), Request(nodes="1,2", argv=(b"x",)), (Place((1,)), Place((2,))), 0.0)
    writes_later: Any = SimpleNamespace(add=lambda *_: None, close_job=lambda _: None)
    live = SimpleNamespace(job=job, spool=None, received=SimpleNamespace(total=lambda stream: 0))

    def recorded() -> dict[int, Outcome]:
        return record_of(cast(Any, live)).outcomes()

    job.finish(0, Lost("gone"))
    live.spool = spool = JobSpool(writes_later, 1, 0, SpoolEnd())
    assert recorded() == {0: Lost("gone")}, "it ended before there was a spool"
    job.finish(1, Returned(3))
    spool.finish(1, Returned(3), (5, 0))
    assert recorded() == {0: Lost("gone")}
    spool.wrote(SpoolEnd(), complete=True)
    assert recorded() == job.outcomes


@pytest.mark.parametrize("said", [NotStarted("1 node has failed"), Killed(9, started=False), Lost("its lease is over")])
def test_what_no_node_says_again_is_in_the_record_although_the_spool_has_it_too(said: Outcome) -> None:
    """A full disk had kept it out of the spool.  The master crashed, and the rank began under the next one."""
    job = JobRecord(1, Caller(0, 0, ()), Request(nodes="1,2", argv=(b"x",)), (Place((1,)), Place((2,))), 0.0)
    drops: Any = SimpleNamespace(add=lambda *_: None, close_job=lambda _: None)
    spool = JobSpool(drops, 1, 0, SpoolEnd())
    live: Any = SimpleNamespace(job=job, spool=spool, received=SimpleNamespace(total=lambda stream: 0))
    job.finish(0, said)
    spool.finish(0, said, (0, 0))
    assert record_of(live).outcomes() == {0: said}


def test_a_job_that_has_ended_is_not_forgotten_before_its_output_is_on_the_disk() -> None:
    """If the master crashed between the two, the job was recorded as lost."""
    job = JobRecord(1, Caller(0, 0, ()), Request(nodes="1", argv=(b"x",)), (Place((1,)),), 0.0)
    writes_later: Any = SimpleNamespace(add=lambda *_: None, close_job=lambda _: None)
    spool = JobSpool(writes_later, 1, 0, SpoolEnd())
    live: Any = SimpleNamespace(job=job, spool=spool)
    job.finish(0, Returned(0))
    assert not is_all_kept(live)
    spool.wrote(SpoolEnd(), complete=True)
    assert is_all_kept(live)
