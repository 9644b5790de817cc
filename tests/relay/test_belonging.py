"""A certificate names a host, and a host has one place."""

from __future__ import annotations

import pytest

from gproc.locales import load
from gproc.locales.local import Local
from gproc.nodespec import LEVELS_MAX
from gproc.relay.belonging import Belonging, is_full, most_below, placed_by

KANE = placed_by(load("kane"), 6666)
LOCAL = placed_by(Local(), 6666)


@pytest.mark.parametrize(
    ("parent", "is_master", "name", "number", "fits"),
    [
        ("front", True, "kn20", 1, True),
        ("front", True, "kn20", 2, False),
        ("front", True, "kn9", 1, False),
        ("front", True, "kn9", 9, False),
        ("kn20", False, "kn9", 9, True),
        ("kn20", False, "kn9", 8, False),
        ("kn40", False, "kn9", 9, False),
        ("kn20", False, "kn20", 3, True),  # a second slave of the rack master's own machine
        ("front", True, "strange", 7, True),  # the locale does not say where it belongs
    ],
)
def test_a_host_has_the_place_that_the_locale_gives_it(
    parent: str, is_master: bool, name: str, number: int, fits: bool
) -> None:
    why = Belonging(parent, is_master, KANE).objection(name, number, [])
    assert (why == "") == fits
    if why:
        assert why.startswith(f"the locale places {name} as number ")


def test_a_slave_without_a_number_gets_the_locales() -> None:
    assert Belonging("kn20", False, KANE).number_of("kn9") == 9
    assert Belonging("kn20", False, LOCAL).number_of("kn9") is None


def test_a_certificate_has_one_place_where_the_locale_does_not_say_which() -> None:
    master = Belonging("front", True, LOCAL)
    assert master.objection("kn9", 1, []) == ""
    assert master.objection("kn9", 1, [(1, "kn9")]) == ""  # it comes back before its old connection has ended
    assert master.objection("kn9", 2, [(1, "kn9")]) == "kn9 is here already, as node 1: a certificate has one place"
    assert master.objection("front", 2, [(1, "front")]) == ""


def test_a_locale_says_a_hosts_place_down_from_the_master() -> None:
    master = Belonging("front", True, KANE)
    assert [master.place_of(name) for name in ("kn20", "kn7", "kn47", "strange")] == [(1,), (1, 7), (3, 7), None]
    assert Belonging("front", True, LOCAL).place_of("kn7") is None


@pytest.mark.parametrize("level", range(1, LEVELS_MAX + 1))
def test_a_node_is_full_before_its_parent_would_drop_it_for_announcing_one_more(level: int) -> None:
    most = most_below(level - 1)
    assert not is_full(level, most - 2)
    assert is_full(level, most - 1)
    assert most_below(level) <= most, "a child may announce no more than the node may itself"
    assert most_below(2) >= 4096, "a head below a gateway has thousands of slaves"


def test_the_master_is_never_full() -> None:
    assert not is_full(0, 100_000)
