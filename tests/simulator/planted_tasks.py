"""Bugs that are planted into the rules of `gproc map`: those of its client, of its nodes, and of `--detach`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import gproc.service.listed as listed_module
from gproc.errors import PeerError
from gproc.node.tasks import TaskHost
from gproc.records.task_entries import entries_of
from gproc.records.task_lists import TaskListFile
from gproc.request.outcome import Outcome
from gproc.service.listed import ListedJob
from gproc.tasks.feed import TaskDone, TaskEvent, TaskFeed
from gproc.wire import messages
from gproc.wire.tasks import TaskReportReader, TasksReturned


def tasks_of_a_lost_node_are_given_again(self: TaskFeed, rank: int, outcome: Outcome) -> Iterator[TaskEvent]:
    """They are given again although they may have run."""
    site = self._sites[rank]
    self._close(site, outcome)
    site.recalled = False
    for number in list(site.held):
        self._again(self._take_back(site, number))
    if not self.is_over and all(each.closed is not None for each in self._sites):
        self.stop("no node is left")
    yield from ()


def tasks_that_run_are_given_back(self: TaskHost, *, recalled: bool = False) -> None:
    numbers = (*(task.number for task in self._queue), *(task.order.number for task in self._running.values()))
    self._queue.clear()
    self._queued_bytes = 0
    self._running.clear()
    self._report(TasksReturned(numbers, recalled))


def reports_begin_with_a_record(self: TaskFeed, rank: int, data: bytes) -> Iterator[TaskEvent]:
    """A report that comes in two parts is lost."""
    self._sites[rank].reports = TaskReportReader()
    return _output(self, rank, data)


_output = TaskFeed.output


IN_MAPS: Final[dict[str, tuple[Any, str, Any]]] = {
    "tasks of a lost node are given again": (TaskFeed, "exited", tasks_of_a_lost_node_are_given_again),
    "tasks that run are given back": (TaskHost, "_give_back", tasks_that_run_are_given_back),
    "a report in two parts is lost": (TaskFeed, "output", reports_begin_with_a_record),
}


# Those that are left to the master


def orders_overtake_what_waited(self: TaskHost, *pieces: bytes) -> None:
    """As it was until 29 November 2026, when the simulator found it: credit led to later input."""
    for data in pieces:
        self._consumed(len(data))
        if not data:
            self._input_ended = True
            continue
        try:
            for order in self._reader.feed(data):
                self._obey(order)
        except PeerError as error:
            self._fail(str(error))
    self._advance()


async def the_list_is_read_from_its_beginning_again(self: TaskListFile) -> bytes:
    before, self._position = self._position, 0
    data = await _read(self)
    self._position = before + len(data)
    return data


_read = TaskListFile.read


async def client_leaves_before_the_list_is_here(self: ListedJob) -> None:
    """The part of the list that has come until then counts as all of it."""


def tasks_of_a_lost_node_are_not_kept(self: ListedJob, message: messages.Message) -> None:
    keep = self._keep
    if isinstance(message, messages.Finished):
        self._keep = lambda *_: None  # type: ignore[method-assign]
    try:
        _send(self, message)
    finally:
        self._keep = keep  # type: ignore[method-assign]


_send = ListedJob.send


def ends_are_kept_before_the_output(events: Iterable[TaskEvent]) -> Iterator[bytes]:
    yield from _entries_of(sorted(events, key=lambda event: not isinstance(event, TaskDone)))


_entries_of = entries_of


def what_a_list_takes_is_not_given_back(self: ListedJob) -> None:
    self._held_bytes = 0
    _close(self)


_close = ListedJob.close


def drained_nodes_keep_getting_tasks(self: TaskFeed, ranks: Iterable[int]) -> None:
    for rank in ranks:
        if self._sites[rank].excess > 0:
            self._recall(self._sites[rank])


IN_LISTS: Final[dict[str, tuple[Any, str, Any]]] = {
    "orders overtake what waited for a bundle": (TaskHost, "write", orders_overtake_what_waited),
    "a list is read from its beginning again": (TaskListFile, "read", the_list_is_read_from_its_beginning_again),
    "a client leaves before its list is here": (ListedJob, "all_is_here", client_leaves_before_the_list_is_here),
    "tasks of a lost node are not kept": (ListedJob, "send", tasks_of_a_lost_node_are_not_kept),
    "an end is kept before its output": (listed_module, "entries_of", ends_are_kept_before_the_output),
    "what a list takes is not given back": (ListedJob, "close", what_a_list_takes_is_not_given_back),
    "a drained node gets tasks": (TaskFeed, "drain", drained_nodes_keep_getting_tasks),
}
