"""A refusal is logged once, and then at its tenth, hundredth, thousandth repetition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproc.relay.refusals import REMEMBERED_MAX, Refusals


def test_the_first_refusal_is_told_and_then_each_power_of_ten() -> None:
    refusals = Refusals()
    told = {count: refusals.note("h", "no") for count in range(1, 1002)}
    assert {count: text for count, text in told.items() if text} == {
        1: "no", 10: "no (10 times by now)", 100: "no (100 times by now)", 1000: "no (1000 times by now)",
    }  # fmt: skip


def test_each_host_and_each_reason_is_counted_by_itself() -> None:
    refusals = Refusals()
    assert [refusals.note(host, why) for host in "ab" for why in "xyx"] == ["x", "y", None, "x", "y", None]


def test_after_a_node_of_the_host_was_taken_in_its_next_refusal_is_news() -> None:
    refusals = Refusals()
    for host in "ab":
        refusals.note(host, "no")
    refusals.forget("a")
    assert [refusals.note(host, "no") for host in "ab"] == ["no", None]


@given(st.lists(st.integers(0, 3 * REMEMBERED_MAX), max_size=200))
def test_any_number_of_hosts_is_remembered_within_a_bound(hosts: list[int]) -> None:
    refusals = Refusals()
    for host in [*range(2 * REMEMBERED_MAX), *hosts]:
        refusals.note(str(host), "no")
    assert len(refusals._counts) <= REMEMBERED_MAX
