"""The last faults of the tree, and what became of each."""

from __future__ import annotations

from gproc.nodespec import Place
from gproc.service.faults import ALL_GIVEN_UP, ALL_RUN_ON, FAULTS_MAX, GIVEN_UP, RUNS_ON, Faults
from gproc.service.registry import Node
from gproc.wire.messages import NodeInfo, Route


def a_node(number: int) -> Node:
    node = Node(NodeInfo(f"kn{number}", "", b"n" * 16, "", 0.0), Place((number,)), Route((number,)))
    node.lease_ends_s = 100.0
    return node


def test_a_lost_node_is_told_until_it_is_reached_or_given_up() -> None:
    faults = Faults()
    one, two = a_node(1), a_node(2)
    faults.lose(one.place, "kn1", [one], "it closed", 10.0)
    faults.lose(two.place, "kn2", [two], "it closed", 11.0)
    assert [row.done for row in faults.rows(50.0)] == [RUNS_ON, RUNS_ON]
    faults.end(one, "reached again from here", 12.0)
    assert [(row.done, row.done_s) for row in faults.rows(99.0)] == [("reached again from here", 12.0), (RUNS_ON, 0.0)]
    assert [row.done for row in faults.rows(100.0)] == ["reached again from here", GIVEN_UP]


def test_a_rack_is_one_fault_and_so_it_hides_no_other() -> None:
    faults = Faults()
    rack, *below = (a_node(number) for number in range(1, 308))
    faults.lose(rack.place, "kn1", [rack, *below], "it closed", 10.0)
    [row] = faults.rows(50.0)
    assert (row.what, row.below) == ("cannot be reached, nor can the 306 nodes below it: it closed", 306)
    assert row.done == ALL_RUN_ON
    for node in below:
        faults.end(node, "reached again from here", 11.0)
    [row] = faults.rows(50.0)
    assert (row.done, row.done_s) == (f"306 of 307 are in the tree again; of the others: {ALL_RUN_ON}", 0.0)
    [row] = faults.rows(100.0)
    assert row.done == f"306 of 307 are in the tree again; of the others: {ALL_GIVEN_UP}"
    faults.end(rack, "another run of its slave has its place", 12.0)
    [row] = faults.rows(100.0)
    assert (row.done, row.done_s, faults.count) == ("all 307 are in the tree again", 12.0, 307)


def test_what_hung_on_a_node_that_said_goodbye_is_a_fault_without_it() -> None:
    faults = Faults()
    faults.lose(a_node(1).place, "kn1", [a_node(2), a_node(3)], "it ends", 10.0)
    [row] = faults.rows(50.0)
    assert (row.what, row.below) == ("the 2 nodes below it cannot be reached: it ends", 2)


def test_the_same_node_can_be_lost_again() -> None:
    faults = Faults()
    node = a_node(1)
    for moment in (1.0, 3.0):
        faults.lose(node.place, "kn1", [node], "it closed", moment)
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
