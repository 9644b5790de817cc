"""What is said of nodes by way of one child is bounded, and the honest nodes of a large tree notice nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gproc.nodespec import LEVELS_MAX
from gproc.relay import pace
from gproc.relay.belonging import most_below
from gproc.relay.pace import CHANGES_OF_NODE, ChildPace
from gproc.wire.messages import NodeInfo, Route

OWN, OTHER, THIRD = "own", "kn9", "kn8"


@dataclass
class Recorded:
    """A child and its link: what holds it."""

    node: NodeInfo
    held_by: Callable[[], bool] | None = None
    link: Recorded = field(init=False)

    def __post_init__(self) -> None:
        self.link = self

    def hold(self, may_go_on: Callable[[], bool]) -> None:
        self.held_by = may_go_on


class Setting:
    def __init__(self, level: int) -> None:
        self.now_s = 1000.0
        self.level = level
        self.is_behind = False
        self.pace = ChildPace(OWN, lambda: self.level, lambda: self.is_behind, lambda: self.now_s)

    def child(self, name: str, changes: int) -> Recorded:
        child = Recorded(NodeInfo(name, "", b"", "", 0.0))
        for _ in range(changes):
            self.pace.changed(child)
        return child


@pytest.mark.parametrize("level", range(LEVELS_MAX))
def test_all_nodes_that_may_be_below_a_child_may_come_and_go_at_once(level: int) -> None:
    setting = Setting(level)
    assert setting.child(OTHER, (CHANGES_OF_NODE - 1) * most_below(level)).held_by is None
    assert setting.pace.may_change(OTHER)


def test_a_child_that_says_more_is_held_until_its_allowance_has_grown() -> None:
    setting = Setting(level=1)
    child = setting.child(OTHER, CHANGES_OF_NODE * most_below(1) + 5)
    assert child.held_by is not None
    assert not child.held_by()
    assert setting.child(THIRD, 5).held_by is None
    setting.now_s += 1
    assert child.held_by()
    assert setting.child(OTHER, 300).held_by is not None


def test_a_child_that_connects_again_has_no_new_allowance() -> None:
    setting = Setting(level=1)
    setting.child(OTHER, CHANGES_OF_NODE * most_below(1))
    assert not setting.pace.may_change(OTHER)
    assert setting.child(OTHER, 1).held_by is not None
    setting.is_behind = True
    assert setting.pace.may_change(THIRD)


@pytest.mark.parametrize("level", range(1, 8))
def test_what_one_child_may_say_is_no_more_than_half_of_what_its_parent_may(level: int) -> None:
    above, below = Setting(level - 1), Setting(level)
    for setting in (above, below):
        setting.child(OTHER, CHANGES_OF_NODE * most_below(level - 1))
    said = 0
    for _ in range(100):
        for setting in (above, below):
            setting.now_s += 10.0
        while below.pace.may_change(OTHER):
            below.child(OTHER, 1)
            above.child(OTHER, 1)
            said += 1
    assert said
    assert above.pace.may_change(OTHER)


def test_slaves_with_the_certificate_of_this_node_are_as_many_as_they_like() -> None:
    setting = Setting(level=8)
    assert setting.child(OWN, 100_000).held_by is None


def test_no_question_goes_on_and_every_child_is_read_while_the_parent_does_not_read() -> None:
    """A child that was not read for more than a second lost its connection by its own kernel."""
    setting = Setting(level=1)
    setting.is_behind = True
    for name in (OWN, OTHER):
        assert setting.child(name, 1).held_by is None
        assert not setting.pace.may_ask(name, Route((1,)))


def test_questions_for_leases_by_way_of_one_child_are_bounded_however_many_nodes_it_makes_up() -> None:
    setting = Setting(level=2)
    asked = [setting.pace.may_ask(OTHER, Route((1, number))) for number in range(2 * most_below(2))]
    assert sum(asked) == most_below(2)
    assert setting.pace.may_ask(THIRD, Route((2,)))
    setting.now_s += 1
    assert setting.pace.may_ask(OTHER, Route((1, 1)))


def test_hosts_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "HOSTS_MAX", 3)
    setting = Setting(level=15)
    setting.child(OTHER, 1000)
    for number in range(2):
        setting.child(f"kn{number}", 1)
    assert not setting.pace.may_change(OTHER)
    for number in range(3):
        setting.child(f"kn{number}", 1)
    assert setting.pace.may_change(OTHER)


def test_a_slave_that_learns_its_level_counts_by_it() -> None:
    setting = Setting(level=1)
    setting.level = 4
    setting.child(OTHER, CHANGES_OF_NODE * most_below(4))
    assert not setting.pace.may_change(OTHER)
