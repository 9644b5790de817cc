"""How tasks are handed out: nodes may do anything in any order, and each task runs once, or is reported as lost."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import UsageError
from gproc.nodespec import Place
from gproc.request.limits import SLOTS_MAX
from gproc.request.outcome import Lost, Outcome, Refused, Returned, Signalled
from gproc.request.template import Template
from gproc.tasks.feed import TaskDone, TaskFeed
from gproc.tasks.site import AHEAD_MAX
from gproc.tasks.tallies import LineNumbers, Tally
from gproc.wire.tasks import (
    VALUES_MAX,
    Assign,
    Recall,
    Setup,
    TaskEnded,
    TaskOrderReader,
    TaskSaid,
    TasksReady,
    TasksReturned,
    report_record,
)
from tests.tasks.nodes import ECHO, WELL, Node, World

DURATIONS = st.sampled_from((1e-3, 0.01, 60.0))


@given(st.integers(0, 1 << 32), st.integers(1, 4), st.integers(0, 120), st.booleans(), DURATIONS)
def test_each_task_ends_once_and_is_lost_only_if_a_node_is(
    seed: int, count: int, tasks: int, may_lose: bool, seconds: float
) -> None:
    chance = random.Random(seed)
    nodes = [Node(rank, chance.randint(1, 3), seconds, chance.random() < 0.8) for rank in range(count)]
    world = World(chance, nodes, tasks)
    for _ in range(40_000):
        world.step(may_lose=may_lose)
        if world.feed.is_over:
            break
    assert world.feed.is_over
    ended = {number for number, done in world.done.items() if not isinstance(done.outcome, Lost)}
    lost = world.done.keys() - ended
    assert world.feed.lost == len(lost)
    assert not lost or may_lose
    assert ended <= world.wrote
    if not world.feed.stopped:
        assert len(world.done) == tasks
    elif any(node.has_program and rank not in world.gone for rank, node in enumerate(nodes)):
        raise AssertionError(f"it stopped although a node could go on: {world.feed.stopped}")
    else:
        not_run = world.feed.first_not_run
        assert not_run is None or not_run.number not in world.done


def ready(feed: TaskFeed, *slots: int) -> None:
    feed.begin(len(slots))
    feed.outgoing()
    for rank, count in enumerate(slots):
        assert not list(feed.output(rank, report_record(TasksReady(count))))


def orders(feed: TaskFeed, rank: int, data: bytes | None = None) -> list[object]:
    return list(TaskOrderReader(rank).feed(feed.outgoing() if data is None else data))


def ends(feed: TaskFeed, rank: int, number: int, seconds: float, outcome: Outcome = WELL) -> None:
    list(feed.output(rank, report_record(TaskEnded(number, 1, outcome, seconds))))


def test_a_node_with_short_tasks_gets_some_in_advance_and_one_with_long_tasks_none() -> None:
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1)
    assert feed.wanted == 1
    feed.add(1, (b"a",))
    assert len(orders(feed, 0)) == 1
    assert feed.wanted == 0
    ends(feed, 0, 1, 0.001)
    assert 10 < feed.wanted <= 1 + AHEAD_MAX
    feed.add(2, (b"b",))
    feed.outgoing()
    ends(feed, 0, 2, 1000.0)
    assert feed.wanted == 1


def test_when_one_node_wants_more_all_nodes_get_more_with_the_same_order() -> None:
    """Every node reads every order, so a list of short tasks was slowed by orders for one node each."""
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1, 1, 1)
    for line in (1, 2, 3):
        feed.add(line, (b"a",))
    feed.outgoing()
    for rank in range(3):
        ends(feed, rank, rank + 1, 0.01)
    fill(feed)
    data = feed.outgoing()
    first = [tasks_for(rank, data) for rank in range(3)]
    assert len({len(tasks) for tasks in first}) == 1
    for number in first[0][:-7]:
        ends(feed, 0, number, 0.01)
    ends(feed, 1, first[1][0], 0.01)
    assert (feed.wanted, feed.outgoing()) == (0, b""), "all have enough to do"
    ends(feed, 0, first[0][-7], 0.01)
    fill(feed)
    data = feed.outgoing()
    second = [tasks_for(rank, data) for rank in range(3)]
    assert [len(tasks) for tasks in second] == [len(first[0]) - 6, 1, 0]


def fill(feed: TaskFeed) -> None:
    while feed.wanted:
        feed.add(feed.last + 1, (b"a",))


def tasks_for(rank: int, data: bytes) -> list[int]:
    given = (order for order in TaskOrderReader(rank).feed(data) if isinstance(order, Assign))
    return [task.number for order in given for task in order.tasks]


def test_a_short_rest_of_the_list_is_shared_by_all_nodes() -> None:
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1, 1)
    for line in (1, 2):
        feed.add(line, (b"a",))
    feed.outgoing()
    ends(feed, 0, 1, 0.01)
    ends(feed, 1, 2, 0.01)
    for line in range(3, 11):
        feed.add(line, (b"a",))
    feed.end_list()
    data = feed.outgoing()
    assert [len(tasks_for(rank, data)) for rank in (0, 1)] == [4, 4]


def test_tasks_that_wait_behind_a_long_one_are_called_back_for_a_free_node() -> None:
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1, 1)
    feed.add(1, (b"a",))
    feed.add(2, (b"b",))
    feed.outgoing()
    ends(feed, 0, 1, 0.001)
    for line in range(3, 3 + feed.wanted):
        feed.add(line, (b"c",))
    feed.end_list()
    (assigned,) = orders(feed, 0)
    assert isinstance(assigned, Assign)
    ends(feed, 1, 2, 60.0)
    assert orders(feed, 0) == [Recall()]
    numbers = tuple(task.number for task in assigned.tasks[1:])
    list(feed.output(0, report_record(TasksReturned(numbers, True))))
    (moved,) = orders(feed, 1)
    assert isinstance(moved, Assign)
    assert [task.number for task in moved.tasks] == [numbers[0]]


def test_after_so_many_failures_no_task_begins_and_what_waits_is_called_back() -> None:
    feed = TaskFeed(Setup(), ECHO, max_fail=2)
    ready(feed, 2)
    for line in (1, 2, 3):
        feed.add(line, (b"a",))
    feed.outgoing()
    ends(feed, 0, 1, 0.1, Returned(1))
    feed.outgoing()
    ends(feed, 0, 2, 0.1, Signalled(9))
    assert (feed.stopped, feed.wanted) == ("2 tasks have failed", 0)
    assert not feed.is_over
    ends(feed, 0, 3, 0.1)
    assert feed.is_over
    assert Tally().conclude(feed, [Place((1,))]) == (2, ["the rest of the list was not run: 2 tasks have failed"])


def test_a_list_that_a_signal_ended_is_told_to_have_a_rest_and_killed_tasks_only_if_it_had() -> None:
    """All tasks ran to their ends: "1: killed by SIGTERM", and "the rest of the list was not run"."""
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1)
    feed.add(1, (b"a",))
    feed.outgoing()
    feed.end_list()
    feed.stop("SIGTERM has ended it", 15)
    ends(feed, 0, 1, 0.1)
    list(feed.exited(0, Signalled(15)))
    status, lines = Tally().conclude(feed, [Place((1,))])
    assert (status, lines) == (125, ["SIGTERM has ended it; all of the list had begun"])

    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1)
    for line in (1, 2):
        feed.add(line, (b"a",))
    feed.outgoing()
    feed.stop("SIGTERM has ended it", 15)
    list(feed.exited(0, Signalled(9)))
    assert "1: killed by SIGKILL" in Tally().conclude(feed, [Place((1,))])[1]


def test_a_node_that_sends_something_else_gets_no_more_and_its_tasks_are_lost() -> None:
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1, 1)
    feed.add(1, (b"a",))
    feed.outgoing()
    (done,) = list(feed.output(0, b"\0\0\0\1\xc1"))
    assert isinstance(done, TaskDone) and isinstance(done.outcome, Lost)
    assert list(feed.output(0, report_record(TasksReady(9)))) == []
    assert list(feed.output(1, report_record(TaskSaid(7, 1, b"x")))) == []
    assert feed.stopped == "no node is left"
    status, lines = Tally().conclude(feed, [Place((1,)), Place((2,))])
    assert status == 125
    assert any("sent something else" in line for line in lines)


def test_a_command_that_would_be_too_long_is_said_before_it_is_sent() -> None:
    feed = TaskFeed(Setup(), Template((b"f", *[b"{}"] * 100)))
    with pytest.raises(UsageError, match="entry 7 of the list"):
        feed.add(7, (b"a" * 100_000,))


def test_no_task_beyond_the_horizon_is_wanted() -> None:
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 5)
    feed.horizon = 2
    assert feed.wanted == 2
    feed.add(1, (b"a",))
    feed.add(2, (b"a",))
    feed.outgoing()
    assert feed.wanted == 0
    feed.horizon = 3
    assert feed.wanted == 1


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_node_whose_task_lasted_no_time_at_all_says_nothing_true(seconds: float) -> None:
    """It gets no more, and the other goes on."""
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1, 1)
    feed.add(1, (b"a",))
    feed.outgoing()
    ends(feed, 0, 1, seconds)
    assert isinstance(feed.closed[0], Lost)
    assert 0 < feed.wanted <= 1 + AHEAD_MAX


def test_a_node_that_refuses_gets_none_and_its_reason_is_told() -> None:
    feed = TaskFeed(Setup(), ECHO)
    ready(feed, 1, 1)
    list(feed.exited(0, Refused("not for you")))
    assert feed.wanted == 1
    assert Tally().conclude(feed, [Place((1,)), Place((2,))]) == (125, ["1: refused: not for you"])


def test_lines_are_shown_as_ranges_and_of_many_only_the_first() -> None:
    few, many = LineNumbers(), LineNumbers()
    for line in (9, 7, 8, 3):
        few.add(line)
    for line in range(1, 5000, 2):
        many.add(line)
    assert few.text("line") == "lines 3, 7-9"
    assert many.text("line").endswith("37, 39 and 2480 more")


def test_lines_of_a_long_list_are_one_range_in_whatever_order_tasks_end() -> None:
    """Of 1,200 tasks that failed it said "lines 1-934, 954-1007, ... and 200 more": so the rest could not be run
    again."""
    lines = list(range(1, 20_001))
    for first in range(0, len(lines), 100):
        lines[first : first + 100] = random.Random(first).sample(lines[first : first + 100], 100)
    numbers = LineNumbers()
    for line in lines:
        numbers.add(line)
    assert numbers.text("line") == "lines 1-20000"


def test_a_list_that_was_not_run_to_its_end_is_no_success_even_if_no_task_failed() -> None:
    feed = TaskFeed(Setup(), ECHO)
    feed.begin(1)
    feed.outgoing()
    list(feed.output(0, report_record(TasksReady(1))))
    for line in (1, 2):
        feed.add(line, (b"x",))
    feed.end_list()
    feed.outgoing()
    feed.drain([0])
    list(feed.output(0, report_record(TaskEnded(1, 1, WELL, 0.5))))
    assert feed.is_over and not feed.failed
    status, lines = Tally().conclude(feed, [Place((1,))])
    assert (status, lines) == (125, ["the list was not run from line 2 on: every node that is left is drained"])


def test_many_tasks_of_thousands_of_empty_values_fit_into_orders_and_count_in_memory() -> None:
    feed = TaskFeed(Setup(), ECHO, out_bytes_max=2 << 20)
    feed.begin(1)
    reader = TaskOrderReader(0)
    list(reader.feed(feed.outgoing()))
    list(feed.output(0, report_record(TasksReady(SLOTS_MAX))))
    line = 0
    while feed.wanted:
        feed.add(line := line + 1, (b"",) * VALUES_MAX)
    assert line < 20
    given = [task for order in reader.feed(feed.outgoing()) if isinstance(order, Assign) for task in order.tasks]
    assert given
