"""Who feeds whom: every stripe reaches every child, nobody is asked for more than its share, and a slow child holds
back nobody but itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.spread.trees import MAX_SLOW_PART, MIN_CHILDREN, BroadcastTrees, Trees, sources
from tests.spread.simulation import Transfer, links


@pytest.mark.parametrize("count", [*range(3, 41), 80, 333])
def test_each_stripe_reaches_every_child_by_few_hops_from_the_parent_once(count: int) -> None:
    plan = sources(range(count))
    assert sorted(plan) == list(range(count))
    for stripe in (0, 1):
        assert [by[stripe] for by in plan.values()].count(None) == 1
        for child in plan:
            hops, at = 0, plan[child][stripe]
            while at is not None:
                hops, at = hops + 1, plan[at][stripe]
            assert hops < count.bit_length()


@pytest.mark.parametrize("count", [*range(2, 41), 80, 333])
def test_no_child_sends_more_than_it_receives(count: int) -> None:
    sent = Counter(source for by in sources(range(count)).values() for source in by if source is not None)
    assert max(sent.values()) <= 2


# Repairs


def check(trees: Trees[int]) -> None:
    """What holds of the trees whatever became of whom."""
    healthy = set(trees.by) - trees.slow
    assert trees.slow <= set(trees.by)
    if len(healthy) < MIN_CHILDREN:
        assert set(trees.by.values()) <= {(None, None)}
        return
    for stripe in (0, 1):
        for child in trees.by:
            way = [child]
            while (source := trees.by[way[-1]][stripe]) is not None:
                assert source in healthy
                assert source not in way
                way.append(source)
    sent = Counter(source for child in healthy for source in trees.by[child])
    assert max(sent.values()) <= 2


@st.composite
def stories(draw: st.DrawFn) -> tuple[int, set[int], list[tuple[int, bool]]]:
    """How many children, those slow from the start, and one after the other who is found slow or (True) is gone."""
    count = draw(st.integers(1, 40))
    children = st.integers(0, count - 1)
    events = st.lists(st.tuples(children, st.booleans()), max_size=2 * count)
    return count, draw(st.sets(children)), draw(events)


@given(stories())
def test_both_trees_hold_whoever_is_slow_or_goes(story: tuple[int, set[int], list[tuple[int, bool]]]) -> None:
    count, slow, events = story
    trees = Trees(range(count), slow)
    check(trees)
    for child, is_gone in events:
        if child not in trees.by or (child in trees.slow and not is_gone):
            continue
        before, shared = dict(trees.by), trees.shared()
        fed = {other for other, by in before.items() if child in by}
        if is_gone:
            trees.remove(child)
        else:
            trees.demote(child)
        check(trees)
        if trees.shared():
            assert {other for other, by in trees.by.items() if by != before[other]} <= fed | {child}
            assert len(fed - trees.slow) <= 2
        elif not shared:
            assert {other: before[other] for other in trees.by} == trees.by


@given(stories())
def test_the_owner_is_told_of_everybody_whose_feeders_change_when_one_goes(
    story: tuple[int, set[int], list[tuple[int, bool]]],
) -> None:
    count, slow, events = story
    spread = BroadcastTrees(range(count), slow)
    known = {child: spread.sources_of(child) for child in range(count)}
    for child, _ in events:
        if child in known:
            known.pop(child)
            changes = spread.remove(child)
            assert all(known[other] != by for other, by in changes.items())
            known |= changes
            assert {other: spread.sources_of(other) for other in known} == known
            assert spread.slow == slow & known.keys()


def test_slow_leaves_are_shared_out() -> None:
    """Twenty of eighty: nobody has more of them than would fill a slot or two."""
    trees = Trees(range(80), range(0, 80, 4))
    load = Counter(source for child in trees.slow for source in trees.by[child])
    assert max(load.values()) <= 4


def test_a_leaf_of_both_trees_keeps_its_feeders_when_it_is_slow() -> None:
    trees = Trees(range(5), ())
    (leaf,) = set(trees.by) - {source for by in trees.by.values() for source in by}
    before = dict(trees.by)
    trees.demote(leaf)
    assert trees.by == before


# Who is slow: a payload on its way through links of given rates


@pytest.mark.parametrize(
    ("slow", "slow_way"),
    [
        *((slow, slow_way) for slow in (0, 1, 4, 12, 18, 19) for slow_way in ("both", "up", "down")),
        *((slow, slow_way) for slow in (9, 10) for slow_way in ("both", "down")),
    ],
)
def test_one_slow_child_among_twenty_is_found_and_holds_back_nobody(slow: int, slow_way: str) -> None:
    """At the root of either stripe, in the middle, or feeding one: 16 MiB take others 2.9 s, or 9.4 with no repair."""
    alone = Transfer(*links(20)).run()
    transfer = Transfer(*links(20, [slow], slow_way=slow_way)).run()
    assert transfer.found == {slow}
    assert transfer.last_s(but=[slow]) < 1.4 * alone.last_s()


@pytest.mark.parametrize("slow", [0, 1, 4, 9, 10, 12, 18, 19])
def test_one_known_to_be_slow_costs_others_nothing(slow: int) -> None:
    alone = Transfer(*links(20)).run()
    transfer = Transfer(*links(20, [slow]), slow=[slow]).run()
    assert transfer.found == set()
    assert transfer.trees.recovered == set()
    assert transfer.last_s(but=[slow]) < 1.05 * alone.last_s()


@pytest.mark.parametrize("slow_way", ["both", "down"])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8])
def test_one_slow_child_among_few_is_found_wherever_it_is(count: int, slow_way: str) -> None:
    for slow in range(count):
        assert Transfer(*links(count, [slow], slow_way=slow_way)).run(limit_s=3.0).found == {slow}


@pytest.mark.parametrize("slow", [0, 4, 10])
def test_one_that_hangs_is_found(slow: int) -> None:
    transfer = Transfer(*links(20, [slow], part=1e-6), silent=[slow]).run(limit_s=6.0)
    assert transfer.found == {slow}
    assert len(transfer.done_s) == 19


@pytest.mark.parametrize("count", [2, 3, 5, 20, 40])
def test_nobody_is_found_where_links_are_equal(count: int) -> None:
    assert Transfer(*links(count)).run().found == set()


@pytest.mark.parametrize("count", [3, 8, 20])
@pytest.mark.parametrize("seed", range(4))
def test_nobody_is_found_where_links_differ_by_forty_per_cent(count: int, seed: int) -> None:
    given = random.Random(seed)
    up, down = links(count)
    for child in range(count):
        up[child] *= given.uniform(0.6, 1.4)
        down[child] *= given.uniform(0.6, 1.4)
    assert Transfer(up, down, seed=seed).run().found == set()
    assert Transfer(*links(count), wander=0.4, seed=seed).run().found == set()


def test_on_links_so_slow_that_pieces_are_rare_the_slower_one_is_found_and_nobody_else() -> None:
    for slow, expected in (((), set()), ((3,), {3}), ((11,), {11})):
        up, down = links(12, slow)
        up = {end: rate / 10 for end, rate in up.items()}
        down = {end: rate / 10 for end, rate in down.items()}
        assert Transfer(up, down).run(limit_s=12.0).found == expected


def test_several_slow_ones_are_found() -> None:
    transfer = Transfer(*links(20, [1, 5, 12])).run()
    assert transfer.found == {1, 5, 12}


@pytest.mark.parametrize("slow", [[1, 2], [17, 18, 7], [18, 19]])
def test_two_slow_ones_with_one_feeder_are_not_taken_for_a_slow_feeder(slow: list[int]) -> None:
    assert Transfer(*links(20, slow)).run().found == set(slow)


def test_no_more_than_a_quarter_are_found() -> None:
    transfer = Transfer(*links(12, [3, 4, 6, 7])).run()
    assert len(transfer.found) == 12 // MAX_SLOW_PART


def test_one_that_was_slow_and_is_not_has_recovered() -> None:
    transfer = Transfer(*links(20, [5]), slow=[2, 5, 11]).run()
    assert transfer.trees.recovered == {2, 11}
    assert transfer.trees.slow == {2, 5, 11}


def test_where_all_were_slow_those_that_are_like_the_others_have_recovered() -> None:
    """The parent feeds them all, each at an eighth of its link: one of a tenth would not be told from the others."""
    transfer = Transfer(*links(8, [5], part=0.01), slow=range(8)).run()
    assert transfer.trees.recovered == set(range(8)) - {5}


# Who is slow: reports by hand.  Of four children, 0 feeds 1 and 2 stripe 0, and 1 feeds 3; 3 feeds 2 and 1 stripe 1,
# and 2 feeds 0.

MIB = 1 << 20
Left = Callable[[float], dict[int, tuple[float, float]]]


def reported(
    left: Left, until_s: float = 2.0, begin_s: float = 0.0, spread: BroadcastTrees[int] | None = None
) -> BroadcastTrees[int]:
    """After reports of all children, and reviews, at every 0.2 s: MiB that they lack by the time."""
    spread = spread or BroadcastTrees(range(4))
    for tick in range(round(begin_s * 5), round(until_s * 5) + 1):
        for child, lacks in left(tick / 5).items():
            first, second = (round(stripe * MIB) for stripe in lacks)
            spread.report(child, (first, second), tick / 5)
        spread.review(tick / 5)
    return spread


def test_one_that_keeps_up_with_a_slow_feeder_is_not_blamed() -> None:
    def left(now_s: float) -> dict[int, tuple[float, float]]:
        slow, fast = 40 - now_s / 10, 40 - 3 * now_s
        return {0: (slow, 40 - now_s / 10), 1: (slow, fast), 2: (slow, fast), 3: (slow, fast)}

    assert reported(left).slow == {0}


def test_those_whom_a_feeder_starves_are_not_blamed_but_the_feeder_is() -> None:
    def left(now_s: float) -> dict[int, tuple[float, float]]:
        slow, fast = 40 - now_s / 10, 40 - 3 * now_s
        return {0: (fast, fast), 1: (slow, fast), 2: (slow, fast), 3: (slow, fast)}

    assert reported(left).slow == {0}


def test_nobody_is_judged_who_has_reported_nothing() -> None:
    """0 may have, or lack, what 1 and 2 do not receive from it."""

    def left(now_s: float) -> dict[int, tuple[float, float]]:
        fast = 40 - 3 * now_s
        return {1: (40, fast), 2: (40, fast), 3: (40, fast)}

    assert reported(left).slow == set()


@pytest.mark.parametrize("slow", [9, 10])
def test_no_feeder_is_blamed_for_a_single_edge(slow: int) -> None:
    """It may have children of its own, who share its link."""
    assert Transfer(*links(20, [slow], slow_way="up")).run(limit_s=6.0).found == set()


def test_nobody_is_blamed_for_one_slow_way_between_two_that_are_well() -> None:
    def left(now_s: float) -> dict[int, tuple[float, float]]:
        slow, fast = 40 - now_s / 10, 40 - 3 * now_s
        return {0: (slow, fast), 1: (slow, fast), 2: (slow, fast), 3: (slow, fast)}

    assert reported(left).slow == set()


def test_where_only_one_may_be_slow_it_is_the_slowest() -> None:
    def left(now_s: float) -> dict[int, tuple[float, float]]:
        slow, slower, fast = 40 - now_s / 5, 40 - now_s / 10, 40 - 3 * now_s
        return {0: (slow, slow), 1: (fast, fast), 2: (fast, fast), 3: (slower, slower)}

    assert reported(left).slow == {3}


def test_nobody_is_blamed_for_what_the_parent_lacks_itself() -> None:
    def left(now_s: float) -> dict[int, tuple[float, float]]:
        slow, fast = (40 - now_s / 10, 40 - 0 * now_s), (40 - now_s / 10, 40 - 3 * now_s)
        return {0: slow, 1: fast, 2: fast, 3: fast}

    assert reported(left).slow == {0}
    spread: BroadcastTrees[int] = BroadcastTrees(range(4))
    for tick in range(11):
        spread.report(None, (40 * MIB - tick * MIB // 50, 0), tick / 5)
        reported(left, tick / 5, tick / 5, spread)
    assert spread.slow == set()


def test_nobody_is_blamed_for_the_time_in_which_the_parent_stood_still() -> None:
    """It wakes after two seconds and reads the reports that wait: those of some children before those of others."""

    def left(now_s: float) -> dict[int, tuple[float, float]]:
        fast = 40 - 3 * now_s
        return dict.fromkeys(range(4), (fast, fast))

    spread = reported(left, until_s=1.0)
    for child in (1, 2, 3):
        spread.report(child, (round(31 * MIB), round(31 * MIB)), 3.0)
    assert spread.review(3.0) == {}
    assert reported(left, 5.0, 3.2, spread).slow == set()


def test_an_edge_is_judged_only_by_what_came_over_it() -> None:
    """When 0 is gone, the parent feeds 2 what it still lacks, and is not to find it slow for the time before."""

    def left(now_s: float) -> dict[int, tuple[float, float]]:
        stuck, fast = 40 - 3 * max(0.0, now_s - 1.2), 40 - 3 * now_s
        return {1: (stuck, fast), 2: (stuck, 0), 3: (stuck, fast)}

    spread: BroadcastTrees[int] = BroadcastTrees(range(4))
    for tick in range(6):
        for child, (first, second) in left(tick / 5).items():
            spread.report(child, (round(first * MIB), round(second * MIB)), tick / 5)
    assert spread.remove(0) == {1: (2, 3), 2: (None, 3)}
    assert reported(left, 2.0, 1.2, spread).slow == set()
