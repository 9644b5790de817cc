"""The last faults of the tree, and what became of each."""

from __future__ import annotations

from gproc.nodespec import Place
from gproc.service.faults import FAULTS_MAX, GIVEN_UP, RUNS_ON, Faults
from gproc.service.registry import Node
from gproc.wire.messages import NodeInfo, Route


def a_node(number: int) -> Node:
    node = Node(NodeInfo(f"kn{number}", "", b"n" * 16, "", 0.0), Place((number,)), Route((number,)))
    node.lease_ends_s = 100.0
    return node


def test_a_lost_node_is_told_until_it_is_reached_or_given_up() -> None:
    faults = Faults()
    one, two = a_node(1), a_node(2)
    faults.lose(one, "it closed", 10.0)
    faults.lose(two, "it closed", 11.0)
    assert [row.done for row in faults.rows(50.0)] == [RUNS_ON, RUNS_ON]
    faults.end(one, "reached again from here", 12.0)
    assert [(row.done, row.done_s) for row in faults.rows(99.0)] == [("reached again from here", 12.0), (RUNS_ON, 0.0)]
    assert [row.done for row in faults.rows(100.0)] == ["reached again from here", GIVEN_UP]


def test_the_same_node_can_be_lost_again() -> None:
    faults = Faults()
    node = a_node(1)
    for moment in (1.0, 3.0):
        faults.lose(node, "it closed", moment)
        faults.end(node, f"reached at {moment + 1}", moment + 1)
    assert [(row.since_s, row.done) for row in faults.rows(0.0)] == [(1.0, "reached at 2.0"), (3.0, "reached at 4.0")]


def test_only_the_last_ones_are_kept_and_what_others_say_is_made_safe() -> None:
    faults = Faults()
    for number in range(FAULTS_MAX + 5):
        faults.add(Place((number + 1,)), "kn", "a\x1b[2Jb", "it was not taken in", float(number))
    rows = faults.rows(0.0)
    assert (len(rows), rows[0].place, rows[-1].place) == (FAULTS_MAX, (6,), (FAULTS_MAX + 5,))
    assert rows[0].what.isprintable()


def test_a_node_that_is_refused_again_and_again_is_one_line_with_its_first_and_last_time() -> None:
    faults = Faults()
    for moment in (1.0, 2.0, 3.0):
        faults.add(Place((1,)), "kn1", "it has no proof", "it was not taken in", moment)
    assert [(row.since_s, row.done_s) for row in faults.rows(0.0)] == [(1.0, 3.0)]
