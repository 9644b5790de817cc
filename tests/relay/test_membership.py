"""Membership in the tree: each event in each state moves as the tables say, or is a bug that tells its story."""

from __future__ import annotations

import random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.nodespec import Place
from gproc.relay.membership import (
    CHILD_MOVES,
    JITTER,
    MAX_REFUSED_S,
    MAX_UNREACHABLE_S,
    RETRY_S,
    SLAVE_MOVES,
    SPREAD_S,
    STORY_EVENTS,
    Admit,
    AnnounceSubtree,
    BulkOpened,
    ChildEvent,
    ChildMembership,
    ChildState,
    ConnectionLost,
    DialAfter,
    DialFailed,
    GiveUp,
    IllegalMove,
    Membership,
    ParentLost,
    Part,
    PlaceGranted,
    Redial,
    SlaveEffect,
    SlaveEvent,
    SlaveState,
    Stopped,
    Suspend,
    Tell,
    TimedOutJoining,
    Welcomed,
)

PARENT: Final = "kn20:6666"

WELCOMED, GRANTED, LOST = Welcomed(7), PlaceGranted(Place((3, 7))), ParentLost("no route to host")
FAILED, REFUSED = DialFailed("it is down"), DialFailed("id 7 is taken", refused=True)
REDIAL, STOPPED = Redial(), Stopped()

SLAVE_EVENTS: Final[tuple[SlaveEvent, ...]] = (WELCOMED, GRANTED, FAILED, LOST, REDIAL, STOPPED)
CHILD_EVENTS: Final[tuple[ChildEvent, ...]] = (BulkOpened(), TimedOutJoining(10.0), ConnectionLost("reset", bulk=False))

SLAVE_WAYS: Final[dict[SlaveState, tuple[SlaveEvent, ...]]] = {
    SlaveState.DIALLING: (),
    SlaveState.JOINED: (WELCOMED,),
    SlaveState.GRANTED: (WELCOMED, GRANTED),
    SlaveState.ORPHANED: (WELCOMED, GRANTED, LOST),
    SlaveState.LEAVING: (STOPPED,),
}
"""The events that lead from the beginning to each state."""

CHILD_WAYS: Final[dict[ChildState, tuple[ChildEvent, ...]]] = {
    ChildState.JOINING: (),
    ChildState.PRESENT: (BulkOpened(),),
    ChildState.GONE: (TimedOutJoining(10.0),),
}


def slave_in(state: SlaveState) -> Membership:
    slave = Membership(None, (PARENT,))
    for event in SLAVE_WAYS[state]:
        slave.handle(event)
    assert slave.state is state
    return slave


def child_in(state: ChildState) -> ChildMembership:
    child = ChildMembership()
    for event in CHILD_WAYS[state]:
        child.handle(event)
    assert child.state is state
    return child


def pauses(effects: list[SlaveEffect]) -> list[float]:
    return [effect.pause_s for effect in effects if isinstance(effect, DialAfter)]


def complaints(effects: list[SlaveEffect]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, Tell) and effect.warning]


# A slave at its parent


@pytest.mark.parametrize("event", SLAVE_EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", SlaveState)
def test_a_slave_moves_as_the_table_says_or_tells_the_story_of_a_bug(state: SlaveState, event: SlaveEvent) -> None:
    slave = slave_in(state)
    after = SLAVE_MOVES.get((state, type(event)))
    if after is not None:
        slave.handle(event)
        assert slave.state is after
        return
    with pytest.raises(IllegalMove) as caught:
        slave.handle(event)
    assert slave.state is state
    assert len(caught.value.story) == len(SLAVE_WAYS[state])
    assert str(caught.value).startswith(f"{type(event).__name__} in state {state.value}; before: ")
    for step, earlier in zip(caught.value.story, SLAVE_WAYS[state], strict=True):
        assert f" -{type(earlier).__name__}-> " in step


def test_the_way_of_a_slave_from_its_first_call_to_a_second_parent() -> None:
    slave = Membership(None, (PARENT,), random.Random(1))
    assert slave.handle(WELCOMED) == [AnnounceSubtree()]
    assert slave.id == 7
    assert slave.handle(GRANTED) == [Tell("this is node 3/7")]
    assert slave.place == Place((3, 7))
    ending, said, dial = slave.handle(LOST)
    assert ending == Suspend()
    assert said == Tell(f"lost the parent at {PARENT}: no route to host; trying to join again", warning=True)
    assert isinstance(dial, DialAfter)
    assert slave.handle(REDIAL) == []
    assert slave.handle(WELCOMED) == [AnnounceSubtree()]
    assert slave.handle(GRANTED) == [], "its place has not changed"


@pytest.mark.parametrize("state", [SlaveState.JOINED, SlaveState.GRANTED])
def test_what_jobs_say_waits_from_the_moment_that_a_parent_is_lost(state: SlaveState) -> None:
    assert slave_in(state).handle(LOST)[0] == Suspend()


def test_a_slave_whose_parent_is_gone_dials_those_above_it_in_turn_and_pauses_after_each_round() -> None:
    slave = slave_in(SlaveState.GRANTED)
    slave.know((PARENT, "grandparent", "master"))
    _, said, dial = slave.handle(LOST)
    assert said == Tell(f"lost the parent at {PARENT}: no route to host; the next one is grandparent", warning=True)
    assert isinstance(dial, DialAfter)
    assert dial.pause_s <= SPREAD_S
    tried = []
    waited = []
    for _ in range(6):
        slave.handle(REDIAL)
        tried.append(slave.ways[slave.way])
        waited += pauses(slave.handle(FAILED))
    assert tried == ["grandparent", "master", PARENT] * 2
    assert [pause_s > 0 for pause_s in waited] == [False, False, True] * 2


def test_a_slave_that_goes_home_dials_its_own_parent_first() -> None:
    slave = slave_in(SlaveState.GRANTED)
    slave.know((PARENT, "grandparent", "master"))
    for event in (LOST, REDIAL, WELCOMED):
        slave.handle(event)
    assert not slave.at_home
    slave.go_home()
    slave.handle(LOST)
    assert slave.ways[slave.way] == PARENT


def test_a_refusal_for_good_by_a_node_that_is_not_the_parent_ends_nothing() -> None:
    slave = slave_in(SlaveState.GRANTED)
    slave.know((PARENT, "master"))
    slave.handle(LOST)
    slave.handle(REDIAL)
    final = DialFailed("no", refused=True, final=True)
    assert not any(isinstance(effect, GiveUp) for effect in slave.handle(final))
    slave.handle(REDIAL)
    assert slave.handle(final) == [GiveUp("no")]


def test_a_parent_that_is_lost_after_the_end_has_begun_is_no_news() -> None:
    assert slave_in(SlaveState.LEAVING).handle(LOST) == []


def test_a_slave_that_is_never_taken_in_gives_up() -> None:
    final = DialFailed("another cluster's certificate", refused=True, final=True)
    assert slave_in(SlaveState.DIALLING).handle(final) == [GiveUp("another cluster's certificate")]


@pytest.mark.parametrize(("failed", "most_s"), [(FAILED, MAX_UNREACHABLE_S), (REFUSED, MAX_REFUSED_S)])
@given(seed=st.integers(0, 2**32))
def test_pauses_double_to_a_bound_and_children_do_not_dial_at_once(
    failed: DialFailed, most_s: float, seed: int
) -> None:
    slave = Membership(None, (PARENT,), random.Random(seed))
    for attempt in range(20):
        (pause_s,) = pauses(slave.handle(failed))
        whole_s = min(RETRY_S * 2**attempt, most_s)
        assert (1 - JITTER) * whole_s <= pause_s <= whole_s
        slave.handle(REDIAL)


def test_the_pauses_of_two_children_differ() -> None:
    first, second = (pauses(Membership(None, (PARENT,)).handle(FAILED)) for _ in range(2))
    assert first != second


def test_pauses_begin_anew_once_the_master_has_given_us_a_place() -> None:
    slave = slave_in(SlaveState.DIALLING)
    for _ in range(10):
        slave.handle(REFUSED)
        slave.handle(REDIAL)
    slave.handle(WELCOMED)
    slave.handle(GRANTED)
    (pause_s,) = pauses(slave.handle(LOST))
    assert pause_s <= RETRY_S


def test_a_complaint_is_said_once_until_there_is_another_one_or_a_parent() -> None:
    slave = slave_in(SlaveState.DIALLING)
    assert complaints(slave.handle(FAILED)) == ["cannot join: it is down; trying again"]
    assert complaints(slave.handle(FAILED)) == []
    assert complaints(slave.handle(REFUSED)) == ["cannot join: id 7 is taken; trying again"]
    assert complaints(slave.handle(FAILED)) == ["cannot join: it is down; trying again"]
    for event in (WELCOMED, LOST, REDIAL):
        slave.handle(event)
    assert complaints(slave.handle(FAILED)) == ["cannot join: it is down; trying again"]


@pytest.mark.parametrize("event", SLAVE_EVENTS, ids=lambda event: type(event).__name__)
def test_a_slave_that_ends_takes_what_is_on_its_way_and_does_nothing(event: SlaveEvent) -> None:
    """A grant that came when a slave had been told to end was a "bug in gproc" in its log."""
    slave = slave_in(SlaveState.LEAVING)
    assert slave.handle(event) == []
    assert slave.state is SlaveState.LEAVING


def test_parents_that_are_dialled_in_turn_are_complained_of_once_each() -> None:
    """The log of a slave whose whole tree was gone had a line for each try."""
    slave = Membership(None, ("the rack master", "the master"))
    said: list[str] = []
    for _ in range(20):
        said += complaints(slave.handle(DialFailed(f"{slave.ways[slave.way]} is down")))
        slave.handle(REDIAL)
    expected = ("the rack master", "the master")
    assert said == [f"cannot join: {name} is down; trying again" for name in expected]


def test_a_node_has_more_time_to_let_a_slave_in_each_time_that_its_turn_comes() -> None:
    """On a busy network each of them was given up just before it answered, again and again."""
    slave = Membership(None, ("the rack master", "the master"))
    given_s = []
    for _ in range(12):
        given_s.append(slave.patience_s)
        slave.handle(FAILED)
        slave.handle(REDIAL)
    assert given_s == [2, 2, 4, 4, 6, 6, 8, 8, 8, 8, 8, 8]
    slave.handle(WELCOMED)
    slave.handle(GRANTED)
    assert slave.patience_s == 2


def test_5000_slaves_on_two_processors_do_not_dial_without_a_pause_because_they_are_let_in_and_lost_again() -> None:
    """Each try is work for a parent that is too busy already: none came in for good, for minutes."""
    slave = slave_in(SlaveState.DIALLING)
    waited_s = []
    for _ in range(10):
        slave.handle(WELCOMED)
        waited_s += pauses(slave.handle(LOST))
        slave.handle(REDIAL)
    assert waited_s == sorted(waited_s[:5]) + waited_s[5:]
    assert min(waited_s[5:]) > MAX_UNREACHABLE_S * (1 - JITTER)


@given(st.lists(st.sampled_from([*SLAVE_EVENTS, REFUSED]), max_size=40))
def test_whatever_happens_a_slave_suspends_its_jobs_if_and_only_if_it_loses_a_parent(events: list[SlaveEvent]) -> None:
    slave = Membership(None, (PARENT,))
    for event in events:
        before = slave.state
        try:
            effects = slave.handle(event)
        except IllegalMove as error:
            assert (before, type(event)) not in SLAVE_MOVES
            assert len(error.story) <= STORY_EVENTS
            assert slave.state is before
            continue
        lost = before in (SlaveState.JOINED, SlaveState.GRANTED) and event is LOST
        assert any(isinstance(effect, Suspend) for effect in effects) is lost
        leaving = slave.state is SlaveState.LEAVING
        assert len(pauses(effects)) == (lost or (isinstance(event, DialFailed) and not leaving))
        assert before is not SlaveState.LEAVING or slave.state is SlaveState.LEAVING


# A child at its parent


@pytest.mark.parametrize("event", CHILD_EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("state", ChildState)
def test_a_child_moves_as_the_table_says_or_tells_the_story_of_a_bug(state: ChildState, event: ChildEvent) -> None:
    child = child_in(state)
    after = CHILD_MOVES.get((state, type(event)))
    if after is not None:
        child.handle(event)
        assert child.state is after
        return
    with pytest.raises(IllegalMove, match=rf"^BulkOpened in state {state.value}; before: joining -"):
        child.handle(event)
    assert child.state is state


@given(st.lists(st.sampled_from(CHILD_EVENTS), max_size=12))
def test_a_child_is_admitted_at_most_once_and_parts_at_most_once(events: list[ChildEvent]) -> None:
    child = ChildMembership()
    effects: list[Admit | Part] = []
    for event in events:
        try:
            effect = child.handle(event)
        except IllegalMove:
            continue
        if effect is not None:
            effects.append(effect)
    kinds = [type(effect) for effect in effects]
    assert kinds in ([], [Admit], [Part], [Admit, Part])


def test_the_reason_says_which_connection_of_a_child_was_lost() -> None:
    assert child_in(ChildState.PRESENT).handle(ConnectionLost("reset", bulk=False)) == Part("reset")
    bulk = child_in(ChildState.PRESENT).handle(ConnectionLost("reset", bulk=True))
    assert bulk == Part("its bulk connection was lost: reset")
    late = child_in(ChildState.JOINING).handle(TimedOutJoining(10.0))
    assert late == Part("it opened no bulk connection within 10 s")
