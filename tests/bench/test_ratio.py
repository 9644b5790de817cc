"""When one of two revisions is called better or worse."""

from __future__ import annotations

import itertools
import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ratio import CONFIDENCE, FEWEST_TURNS, compared, judged, spread_of

ratios = st.lists(st.floats(0.01, 100), min_size=1, max_size=25)


@given(ratios)
def test_a_ratio_lies_within_its_spread_and_both_within_what_was_measured(measured: list[float]) -> None:
    spread = spread_of(measured)
    bounds = [min(measured), spread.low, spread.ratio, spread.high, max(measured)]
    assert all(low <= high * (1 + 1e-9) for low, high in itertools.pairwise(bounds))


@given(ratios)
def test_exchanging_the_sides_gives_the_reciprocal(measured: list[float]) -> None:
    spread = spread_of(measured)
    turned = spread_of([1 / ratio for ratio in measured])
    assert turned.low == pytest.approx(1 / spread.high)
    assert turned.ratio == pytest.approx(1 / spread.ratio)
    assert turned.confidence == spread.confidence


@given(ratios, st.randoms(use_true_random=False))
def test_the_order_of_the_turns_does_not_matter(measured: list[float], order: random.Random) -> None:
    mixed = list(measured)
    order.shuffle(mixed)
    assert spread_of(mixed).low == pytest.approx(spread_of(measured).low)


@pytest.mark.parametrize("count", [2, 3, 8, 10, 12])
def test_the_confidence_is_the_share_of_all_signs_whose_spread_contains_no_difference(count: int) -> None:
    """If two commits do not differ, each set of signs of the differences is as likely as any other."""
    sizes = [2**rank * 0.01 for rank in range(count)]
    inside = 0
    for signs in itertools.product((-1, 1), repeat=count):
        spread = spread_of([2 ** (sign * size) for sign, size in zip(signs, sizes, strict=True)])
        inside += spread.low <= 1 <= spread.high
    assert inside / 2**count == pytest.approx(spread_of([1.0] * count).confidence)


@pytest.mark.parametrize("count", range(1, 41))
def test_this_many_turns_or_more_give_a_spread_of_enough_confidence(count: int) -> None:
    assert (spread_of([1.0] * count).confidence >= CONFIDENCE) == (count >= FEWEST_TURNS)


def test_the_interval_is_that_of_published_tables() -> None:
    """For 10 pairs, P(W <= 3) is 0.005, so three of the 55 means go at each end (Hollander and Wolfe, table A.4)."""
    spread = spread_of([2.0**exponent for exponent in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)])
    assert spread.confidence == pytest.approx(1 - 2 * 5 / 1024)
    means = sorted((first + second) / 2 for first, second in itertools.combinations_with_replacement(
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), 2))  # fmt: skip
    assert spread.low == pytest.approx(2 ** means[3])
    assert spread.ratio == pytest.approx(2 ** median(means))


def test_a_figure_that_is_higher_in_every_turn_is_worse() -> None:
    assert compared("date", "s", [1.0] * 10, [1.05 + turn / 1000 for turn in range(10)]).word == "worse"


def test_a_figure_that_is_lower_in_every_turn_is_better() -> None:
    assert compared("date", "s", [1.05 + turn / 1000 for turn in range(10)], [1.0] * 10).word == "better"


def test_a_machine_that_becomes_twice_as_slow_meanwhile_hides_no_difference() -> None:
    drift = [1 + turn / 19 for turn in range(20)]
    slower = [1.03 * value * (1 + turn % 3 / 500) for turn, value in enumerate(drift)]
    assert compared("date", "s", drift, slower).word == "worse"
    assert compared("date", "s", drift, list(drift)).word == "same"


def test_one_disturbed_turn_makes_nothing_worse() -> None:
    usual = [1 + turn % 4 / 100 for turn in range(10)]
    assert compared("date", "s", usual, [*usual[1:], 9.0]).word == "same"


def test_a_difference_below_a_hundredth_does_not_count_even_if_it_is_certain() -> None:
    assert compared("memory", "MB", [100.0] * 20, [100.5] * 20).word == "same"
    assert compared("memory", "MB", [100.5] * 20, [100.0] * 20).word == "same"


def test_too_few_turns_call_nothing_worse_or_better() -> None:
    few = FEWEST_TURNS - 1
    assert compared("date", "s", [1.0] * few, [2.0] * few).word == "too few turns"
    assert compared("date", "s", [1.0] * FEWEST_TURNS, [2.0] * FEWEST_TURNS).word == "worse"


def test_a_commit_beside_itself_is_called_different_no_more_often_than_the_confidence_allows() -> None:
    chance = random.Random(7)
    different = 0
    for _ in range(1000):
        spread = spread_of([chance.lognormvariate(0, 0.2) / chance.lognormvariate(0, 0.2) for _ in range(20)])
        different += judged(spread) != "same"
    # 10 are expected; more than 25 of 1,000 at a hundredth each happens once in 100,000 times.
    assert different <= 25


@pytest.mark.parametrize(("ref", "this"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [-1.0])])
def test_values_that_have_no_ratio_are_refused(ref: list[float], this: list[float]) -> None:
    with pytest.raises(ValueError, match="date"):
        compared("date", "s", ref, this)
