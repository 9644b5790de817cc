"""What is said of the nodes of a job that show where their processes are, and of those that cannot."""

from __future__ import annotations

from gproc.client.stack_tree import elsewhere_of, groups_of, without_place
from gproc.wire.stacks import JobStacks, StackRemark, StackRow

WAITS = StackRow(("sleep", "sleeping"), 2, ((0, 1),))
BUSY = StackRemark("the node was too busy to look at its processes", ((2, 4),))


def answer(*remarks: StackRemark) -> JobStacks:
    """An answer in which two of five nodes show a process."""
    return JobStacks(1, 7, tuple((number,) for number in range(1, 6)), ((0, 4),), ((0, 4),), (WAITS,), remarks)


def test_a_node_that_could_not_look_is_not_taken_for_one_without_a_process() -> None:
    """On a busy machine most nodes were said to have no process, and those that had looked to be elsewhere."""
    assert without_place(answer(BUSY)) == [] and groups_of(answer(BUSY)) == [[0, 1]]
    assert elsewhere_of(groups_of(answer(BUSY))) == []


def test_a_node_that_has_looked_and_found_nothing_has_no_process() -> None:
    assert without_place(answer()) == [2, 3, 4] and groups_of(answer()) == [[0, 1], [2, 3, 4]]
    assert elsewhere_of(groups_of(answer())) == [0, 1]
