"""Who feeds whom: every stripe reaches every child, and nobody is asked for more than its share."""

from __future__ import annotations

from collections import Counter

import pytest

from gproc.relay.spread import feeders


@pytest.mark.parametrize("count", [*range(3, 41), 80, 333])
def test_each_stripe_reaches_every_child_by_few_hops_from_the_parent_once(count: int) -> None:
    plan = feeders(range(count))
    assert sorted(plan) == list(range(count))
    for stripe in (0, 1):
        assert [by[stripe] for by in plan.values()].count(None) == 1
        for child in plan:
            hops, at = 0, plan[child][stripe]
            while at is not None:
                hops, at = hops + 1, plan[at][stripe]
            assert hops < count.bit_length()


@pytest.mark.parametrize("count", [*range(3, 41), 80, 333])
def test_no_child_sends_more_than_three_stripes(count: int) -> None:
    """A stripe is half of the payload: so nobody sends more than one and a half times what it receives."""
    sent = Counter(feeder for by in feeders(range(count)).values() for feeder in by if feeder is not None)
    assert max(sent.values()) <= 3
