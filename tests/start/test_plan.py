"""Where hosts stand without a locale."""

from __future__ import annotations

from gproc.start.plan import planned


def test_a_place_whose_host_was_removed_is_given_to_the_next_one() -> None:
    """And no host gets a place below one that is free."""
    kept = planned(["a", "b", "c"], 2)[1:2]
    assert [(each.place, each.parent) for each in planned(["d", "e", "f"], 2, kept)] == [
        ((1,), ""), ((1, 1), "d"), ((2, 1), "b")
    ]  # fmt: skip


def test_addresses_of_ipv6_are_names_of_their_own() -> None:
    assert [each.name for each in planned(["fd00::2", "root@fd00::3"], 32)] == ["fd00--2", "fd00--3"]
