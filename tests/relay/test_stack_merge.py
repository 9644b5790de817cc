"""Answers about stacks are merged on their way: no rank counts twice, and no node answers for the ranks of another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproc.relay.stack_merge import PAIRS_MAX, StackMerge, ranges_of, within
from gproc.wire.stacks import ROWS_MAX, StackRemark, StackRow, StacksShown

RANKS = st.sets(st.integers(0, 300))


def answer(*ranks: int, frames: tuple[str, ...] = ("sh", "sleeping"), threads: int = 1) -> StacksShown:
    of = ranges_of(ranks)
    return StacksShown(7, 1, of, (StackRow(frames, threads, of),), (StackRemark("no gdb", of),))


@given(RANKS, RANKS)
def test_ranges_are_the_ranks_that_they_were_made_of(ranks: set[int], allowed: set[int]) -> None:
    assert within(ranges_of(ranks), sorted(allowed)) == sorted(ranks & allowed)


def test_equal_stacks_of_several_answers_are_one_row() -> None:
    merge = StackMerge(7, 1)
    merge.add(answer(1, 2), range(10))
    merge.add(answer(3), range(10))
    merge.add(answer(4, frames=("cat", "sleeping"), threads=3), range(10))
    assert merge.shown() == StacksShown(
        7, 1, ((1, 4),), (StackRow(("cat", "sleeping"), 3, ((4, 4),)), StackRow(("sh", "sleeping"), 2, ((1, 3),))),
        (StackRemark("no gdb", ((1, 4),)),),
    )  # fmt: skip


def test_a_rank_counts_once_even_if_its_answer_comes_on_two_ways() -> None:
    merge = StackMerge(7, 1)
    merge.add(answer(1), range(10))
    merge.add(answer(1, frames=("other",)), range(10))
    assert [row.frames for row in merge.rows()] == [("sh", "sleeping")]


def test_nobody_speaks_for_the_ranks_of_others() -> None:
    merge = StackMerge(7, 1)
    merge.add(answer(1, 2, 3), [2])
    assert merge.shown().ranks == ((2, 2),) and merge.rows()[0].ranks == ((2, 2),)


def test_ranges_of_the_whole_number_space_cost_no_more_than_the_ranks_that_are_there() -> None:
    merge = StackMerge(7, 1)
    whole = ((0, 2**32 - 2),)
    merge.add(StacksShown(7, 1, whole, (StackRow(("sh",), 1, whole),)), [4, 5])
    assert merge.shown().ranks == ((4, 5),)
    merge.add(StacksShown(7, 1, ((9, 3), (1, 1)), ()), range(10))
    assert merge.ranks == {4, 5, 1} or merge.ranks == {4, 5}


def test_what_is_beyond_the_bounds_is_counted() -> None:
    merge = StackMerge(7, 1)
    for number in range(ROWS_MAX + 10):
        merge.add(answer(number, frames=(str(number),)), [number])
    assert len(merge.rows()) == ROWS_MAX and merge.left_out == 10
    wide = StackMerge(7, 1)
    size = PAIRS_MAX // 100
    rows = tuple(StackRow((str(number),), 1, ((0, size - 1),)) for number in range(102))
    wide.add(StacksShown(7, 1, ((0, size - 1),), rows), range(size))
    assert len(wide.rows()) == 100 and wide.left_out == 2
