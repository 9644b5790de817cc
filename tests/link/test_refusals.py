"""A refusal is logged once, and then at its tenth, hundredth, thousandth repetition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproc.link.refusals import LINE_OF_HOST_S, LINES, LINES_OF_HOST, REMEMBERED_MAX, Refusals


def test_the_first_refusal_is_told_and_then_each_power_of_ten() -> None:
    refusals = Refusals()
    told = {count: refusals.note("h", "no", 0) for count in range(1, 1002)}
    assert {count: text for count, text in told.items() if text} == {
        1: "no", 10: "no (10 times by now)", 100: "no (100 times by now)", 1000: "no (1000 times by now)",
    }  # fmt: skip


def test_each_host_and_each_reason_is_counted_by_itself() -> None:
    refusals = Refusals()
    assert [refusals.note(host, why, 0) for host in "ab" for why in "xyx"] == ["x", "y", None, "x", "y", None]


def test_after_a_node_of_the_host_was_taken_in_its_next_refusal_is_news() -> None:
    refusals = Refusals()
    for host in "ab":
        refusals.note(host, "no", 0)
    refusals.forget("a")
    assert [refusals.note(host, "no", 0) for host in "ab"] == ["no", None]


@given(st.lists(st.integers(0, 3 * REMEMBERED_MAX), max_size=200))
def test_any_number_of_hosts_is_remembered_within_a_bound(hosts: list[int]) -> None:
    refusals = Refusals()
    for host in [*range(2 * REMEMBERED_MAX), *hosts]:
        refusals.note(str(host), "no", 0)
    assert len(refusals._counts) <= REMEMBERED_MAX
    assert len(refusals._allowed) <= REMEMBERED_MAX


def test_whoever_has_a_new_reason_each_time_gets_so_many_lines_and_leaves_some_to_others() -> None:
    refusals = Refusals()
    told = [refusals.note("a", f"no {number}", 0) for number in range(2 * LINES)]
    assert len([text for text in told if text]) == LINES_OF_HOST
    assert refusals.note("b", "no", 0) == "no"
    assert refusals.note("a", "once more", LINE_OF_HOST_S) == "once more"
    assert refusals.note("a", "and again", LINE_OF_HOST_S) is None


def test_very_many_hosts_get_so_many_lines_together() -> None:
    refusals = Refusals()
    told = [refusals.note(str(host), "no", 0) for host in range(2 * LINES)]
    assert len([text for text in told if text]) == LINES
