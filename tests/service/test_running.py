"""The running jobs by the nodes that they run on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gproc.nodespec import Place
from gproc.request.outcome import Returned
from gproc.request.spec import Caller, Request
from gproc.service.jobs import JobRecord
from gproc.service.running import RunningJobs

REQUEST = Request(nodes=".", argv=(b"x",))
PLACES = [Place((id,)) for id in (1, 2, 3)]
STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove", "end", "ask"]), st.integers(0, 5), st.integers(1, 7)))


@given(STEPS)
def test_a_node_has_the_jobs_that_have_not_ended_there(steps: list[tuple[str, int, int]]) -> None:
    jobs, number = RunningJobs(), 0
    for step, which, some in steps:
        numbers = list(jobs)
        if step == "add":
            number += 1
            places = [place for bit, place in enumerate(PLACES) if some >> bit & 1]
            live: Any = SimpleNamespace(job=JobRecord(number, Caller(0, 0, ()), REQUEST, places, 0.0))
            jobs[number] = live
        elif step == "remove" and numbers:
            jobs.pop(numbers[which % len(numbers)])
        elif step == "end" and numbers:
            job = jobs[numbers[which % len(numbers)]].job
            job.finish(some % len(job.places), Returned(0))
        elif step == "ask":
            place = PLACES[some % 3]
            here = [each for each in jobs.values() if each.job.rank_at(place) is not None]
            assert jobs.at(place) == [each for each in here if each.job.rank_at(place) not in each.job.outcomes]
    for each in list(jobs):
        del jobs[each]
    assert not jobs._by_place and not jobs._not_filed


def test_what_a_question_for_a_lease_costs_follows_the_jobs_of_its_node() -> None:
    """The master looked at all jobs at each question: 0.1 ms with 1,000 of them."""
    looked: list[Place] = []

    other: Any = SimpleNamespace(job=SimpleNamespace(places=PLACES[:1], rank_at=looked.append))
    mine: Any = SimpleNamespace(job=JobRecord(1001, Caller(0, 0, ()), REQUEST, PLACES[1:2], 0.0))
    jobs = RunningJobs({**dict.fromkeys(range(1000), other), 1001: mine})
    assert jobs.at(PLACES[1]) == [mine] and not looked
