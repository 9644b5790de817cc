"""A node's lease: what an answer of the master proves, and what one that was held back does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproc.trust.lease import LEASE_S, QUESTIONS, LeaseKeeper

ROUND_TRIP_S = LEASE_S / QUESTIONS
"""An answer that takes longer is worth nothing."""

BEGAN_S = 1000.0
"""When the master's session began, on the node's clock."""


def asked_at(at_s: float, nonce: bytes = b"n") -> LeaseKeeper:
    keeper = LeaseKeeper()
    keeper.ask(nonce, at_s)
    return keeper


def test_a_node_that_has_heard_nothing_has_no_lease() -> None:
    keeper = asked_at(2000.0)
    assert not keeper.holds(2000.0)
    assert keeper.clock_ms(2000.0) == 0


def test_a_lease_counts_from_the_question_and_not_from_the_answer() -> None:
    keeper = asked_at(2000.0)
    assert keeper.answered(b"n", 0, 2010.0)
    assert keeper.holds(2000.0 + LEASE_S - 0.1)
    assert not keeper.holds(2000.0 + LEASE_S)


def test_an_answer_that_a_relay_held_back_is_worth_nothing() -> None:
    keeper = asked_at(2000.0)
    assert not keeper.answered(b"n", 10**9, 2000.0 + ROUND_TRIP_S + 0.1)
    assert not keeper.holds(2020.0)
    assert keeper.clock_ms(2020.0) == 0


def test_an_answer_counts_once_and_only_for_its_own_question() -> None:
    keeper = asked_at(2000.0)
    assert not keeper.answered(b"other", 1, 2001.0)
    assert keeper.answered(b"n", 1, 2001.0)
    assert not keeper.answered(b"n", 1, 2002.0)


def test_questions_without_an_answer_are_forgotten() -> None:
    keeper = LeaseKeeper()
    for second in range(1000):
        keeper.ask_anew(float(second))
    assert len(keeper._asked) <= ROUND_TRIP_S + 1


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0, 20), st.floats(0, 20), st.booleans()), min_size=1, max_size=20)
)
def test_a_node_never_thinks_that_the_masters_clock_shows_more_than_it_does(
    steps: list[tuple[float, float, float, bool]],
) -> None:
    """Each step: a pause, the way up, the way down, and whether the answer arrives.  A relay may stretch both ways."""
    keeper = LeaseKeeper()
    now_s = BEGAN_S
    best_lag_s = float("inf")
    for pause_s, up_s, down_s, arrives in steps:
        now_s += pause_s
        nonce = keeper.ask_anew(now_s)
        signed_ms = int((now_s + up_s - BEGAN_S) * 1000)
        now_s += up_s + down_s
        if arrives and keeper.answered(nonce, signed_ms, now_s):
            best_lag_s = min(best_lag_s, down_s)
        true_ms = (now_s - BEGAN_S) * 1000
        assert keeper.clock_ms(now_s) <= true_ms + 1
        if best_lag_s < float("inf"):
            assert keeper.clock_ms(now_s) >= true_ms - best_lag_s * 1000 - 2
