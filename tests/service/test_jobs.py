"""The master's table of jobs: numbers, where they run, and what became of each rank."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.nodespec import Place
from gproc.request.outcome import Killed, Lost, NotStarted, Outcome, Refused, Returned, Signalled, TimedOut
from gproc.request.spec import Caller, Request
from gproc.service.jobs import JobRecord, JobState, JobTable

CALLER: Final = Caller(1000, 1000, ())
REQUEST: Final = Request(nodes="1-3", argv=(b"true",), timeout_s=2.5)
PLACES: Final = (Place((1,)), Place((2,)), Place((2, 1)))


def a_job(table: JobTable | None = None, places: tuple[Place, ...] = PLACES) -> JobRecord:
    return (JobTable() if table is None else table).add(CALLER, REQUEST, places, 1.0)


@given(st.lists(st.sampled_from(["add", "remove", "finish", "end", "ask"]), max_size=40))
def test_numbers_rise_by_one_with_each_job_and_with_nothing_else(actions: list[str]) -> None:
    table = JobTable()
    jobs: list[JobRecord] = []
    for action in actions:
        if action == "add":
            jobs.append(a_job(table))
        elif action == "remove" and jobs:
            table.remove(jobs[len(jobs) // 2].number)
        elif action == "finish" and jobs:
            jobs[-1].finish(0, Returned(0))
        elif action == "end" and jobs:
            jobs[-1].end()
        elif action == "ask":
            table.running_at()
    assert [job.number for job in jobs] == list(range(1, len(jobs) + 1))


def test_a_node_has_the_jobs_that_have_not_ended_there() -> None:
    table = JobTable()
    first, second = a_job(table), a_job(table, PLACES[:1])
    assert table.running_at() == {PLACES[0]: 2, PLACES[1]: 1, PLACES[2]: 1}
    first.finish(0, Returned(0))
    first.finish(2, Lost("it is gone"))
    assert table.running_at() == {PLACES[0]: 1, PLACES[1]: 1}
    table.remove(second.number)
    assert table.running_at() == {PLACES[1]: 1}
    table.remove(second.number)
    assert len(table) == 1


def test_a_rank_ends_once_and_the_first_word_counts() -> None:
    job = a_job()
    assert job.finish(1, Returned(3)) == Returned(3)
    assert job.finish(1, Lost("its node left afterwards")) is None
    assert job.outcomes == {1: Returned(3)}


@pytest.mark.parametrize("rank", [-1, len(PLACES), 2**32 - 2])
def test_a_rank_that_the_job_does_not_have_is_not_counted(rank: int) -> None:
    job = a_job()
    assert job.finish(rank, Returned(0)) is None
    assert job.outcomes == {}


@given(st.permutations(range(len(PLACES))), st.booleans())
def test_a_job_has_ended_when_its_last_rank_has(order: list[int], told: bool) -> None:
    job = a_job()
    if told:
        job.end()
    for rank in order:
        assert job.state is (JobState.ENDING if told else JobState.RUNNING)
        assert PLACES[rank] in job.unfinished()
        job.finish(rank, Returned(0))
    assert job.state is JobState.ENDED
    assert not list(job.unfinished())
    job.end(timed_out=True)
    assert job.state is JobState.ENDED


@pytest.mark.parametrize(
    ("came", "told"),
    [
        (Returned(0), TimedOut(2.5, Returned(0))),
        (Returned(7), TimedOut(2.5, Returned(7))),
        (Signalled(15), TimedOut(2.5, Signalled(15))),
        (Killed(9, started=True), TimedOut(2.5, Signalled(9))),
        (Killed(9, started=False), TimedOut(2.5, None)),
        (Lost("it is gone"), Lost("it is gone")),
        (Refused("no such caller"), Refused("no such caller")),
        (NotStarted("no such file", "not found"), NotStarted("no such file", "not found")),
    ],
    ids=lambda outcome: type(outcome).__name__,
)
def test_a_program_that_ends_because_its_time_is_up_has_timed_out(came: Outcome, told: Outcome) -> None:
    job = a_job()
    assert job.finish(0, Returned(0)) == Returned(0), "it ended in time"
    job.end(timed_out=True)
    assert job.finish(1, came) == told
    assert job.outcomes[0] == Returned(0)


def test_a_job_that_nobody_wants_any_more_has_not_timed_out_later() -> None:
    job = a_job()
    job.end()
    job.end(timed_out=True)
    assert job.finish(0, Killed(9, started=True)) == Killed(9, started=True)


def test_a_program_that_never_began_because_of_a_fault_of_ours_is_not_called_killed() -> None:
    """A detached job whose program had no room in the master's store had the status 137, and nobody knew why."""
    job = a_job()
    job.end(failure="no room")
    ends: list[Outcome] = [Killed(9, started=False), Killed(9, started=True), Returned(0)]
    told = [job.finish(rank, outcome) for rank, outcome in enumerate(ends)]
    assert told == [NotStarted("no room"), *ends[1:]]
