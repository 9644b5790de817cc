"""Connections come in by turns: none takes the place of another, and none that waits is forgotten."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gproc.link.turns import Places, Turns, Verdict


def test_who_has_filled_the_own_share_waits_and_others_come_in() -> None:
    turns: Turns[str, int] = Turns(Places(each=1, all=9, waiting_each=1, waiting_all=9))
    assert [turns.arrive("a", number) for number in (1, 2, 3)] == [Verdict.IN, Verdict.WAITS, Verdict.SENT_AWAY]
    assert turns.arrive("b", 4) is Verdict.IN
    assert turns.leave("b") is None
    assert turns.leave("a") == ("a", 2)
    assert not turns.any_wait


def test_turns_go_round_the_keys() -> None:
    turns: Turns[str, int] = Turns(Places(each=9, all=1, waiting_each=9, waiting_all=9))
    turns.arrive("a", 0)
    for number in (1, 2, 3):
        turns.arrive("a", number)
    turns.arrive("b", 4)
    order = []
    leaving = "a"
    while (following := turns.leave(leaving)) is not None:
        leaving = following[0]
        order.append(following[1])
    assert order == [1, 4, 2, 3]


def test_a_trusted_key_may_take_all_places_and_no_more() -> None:
    turns: Turns[str, int] = Turns(Places(each=1, all=3, waiting_each=0, waiting_all=1), {"root"})
    verdicts = [turns.arrive("root", number) for number in range(5)]
    assert verdicts == [Verdict.IN] * 3 + [Verdict.WAITS, Verdict.SENT_AWAY]


def test_only_who_has_a_place_that_others_wait_for_is_pressed() -> None:
    turns: Turns[str, int] = Turns(Places(each=1, all=3, waiting_each=9, waiting_all=9))
    for key in "aab":
        turns.arrive(key, 0)
    assert (turns.is_pressed("a"), turns.is_pressed("b")) == (True, False)
    turns.arrive("c", 0)
    assert turns.is_pressed("b")


def test_nobody_waits_after_the_end() -> None:
    turns: Turns[str, int] = Turns(Places(each=1, all=1, waiting_each=9, waiting_all=9))
    for number in (1, 2, 3):
        turns.arrive("a", number)
    assert turns.empty() == [2, 3]
    assert turns.leave("a") is None


@given(
    st.builds(Places, each=st.integers(1, 4), all=st.integers(1, 6), waiting_each=st.integers(0, 3),
              waiting_all=st.integers(0, 5)),
    st.lists(st.one_of(st.integers(0, 3), st.just("leave")), max_size=80),
)  # fmt: skip
def test_bounds_hold_and_who_waits_comes_in_at_last(places: Places, events: list[int | str]) -> None:
    turns: Turns[int, int] = Turns(places)
    inside: list[int] = []
    waiting: Counter[int] = Counter()
    for number, event in enumerate(events):
        if isinstance(event, int):
            verdict = turns.arrive(event, number)
            inside += [event] * (verdict is Verdict.IN)
            waiting[event] += verdict is Verdict.WAITS
        elif inside:
            following = turns.leave(inside.pop(0))
            if following is not None:
                inside.append(following[0])
                waiting[following[0]] -= 1
        assert len(inside) <= places.all
        assert max(Counter(inside).values(), default=0) <= places.each
        assert waiting.total() <= places.waiting_all
        assert turns.any_wait == bool(waiting.total())
        for key, count in waiting.items():
            # Somebody waits only because there is no place.
            assert not count or len(inside) == places.all or inside.count(key) == places.each
    while inside:
        following = turns.leave(inside.pop(0))
        inside += [] if following is None else [following[0]]
    assert not turns.any_wait
