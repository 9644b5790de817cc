"""A node's questions for leases are passed on as often as a genuine node asks, and no oftener."""

from __future__ import annotations

from gproc.relay.lease_questions import PERIOD_S, QUESTIONS, LeaseQuestions
from gproc.wire.messages import Route

ONE, OTHER = Route((1,)), Route((1, 2))


def test_each_node_has_its_own_part_of_each_period() -> None:
    questions = LeaseQuestions()
    for begin_s in (1000.0, 1000.0 + PERIOD_S, 5000.0):
        assert [questions.may_pass(ONE, begin_s) for _ in range(QUESTIONS + 5)] == [True] * QUESTIONS + [False] * 5
        assert questions.may_pass(OTHER, begin_s)


def test_a_clock_that_is_set_back_stops_nobody() -> None:
    questions = LeaseQuestions()
    assert all(questions.may_pass(ONE, 1000.0 - second) for second in range(10 * QUESTIONS))
