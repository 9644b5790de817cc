"""Orders and reports about tasks: cut anywhere they arrive once, and what is none is the peer's fault."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.errors import PeerError
from gproc.request.outcome import Lost, NotStarted, Returned
from gproc.wire.tasks import (
    RECORD_BYTES_MAX,
    Assign,
    Recall,
    Setup,
    TaskEnded,
    TaskListReader,
    TaskOrder,
    TaskOrderReader,
    TaskReport,
    TaskReportReader,
    TaskSaid,
    TasksReady,
    TasksReturned,
    order_record,
    report_record,
)

Feed = Callable[[bytes], Iterator[object]]

ORDERS = (
    (Setup(4, 1.5, True), 0xFFFFFFFF),
    (Assign((TaskOrder(1, (b"a", b"b")),)), 2),
    (Assign((TaskOrder(2, (b"not yours",)),)), 1),
    (Recall(), 2),
    (Assign((TaskOrder(3, ()), TaskOrder(4, (b"\xff",)))), 2),
)
REPORTS: Final[tuple[TaskReport, ...]] = (
    TasksReady(3),
    TaskSaid(1, 1, b"out"),
    TaskSaid(1, 2, b""),
    TaskEnded(1, 2, Returned(3), 0.5),
    TaskEnded(2, 2, NotStarted("none", "not found"), 0.0, True),
    TaskEnded(3, 0, Lost("gone"), 0.0),
    TasksReturned((4, 5), True),
)


@given(st.data())
def test_orders_for_a_rank_arrive_in_order_and_once_however_the_stream_is_cut(data: st.DataObject) -> None:
    stream = b"".join(order_record(order, rank) for order, rank in ORDERS)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader = TaskOrderReader(2)
    found = [
        order
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for order in reader.feed(stream[begin:end])
    ]
    assert found == [order for order, rank in ORDERS if rank != 1]


@given(st.data())
def test_reports_arrive_in_order_and_once_however_the_stream_is_cut(data: st.DataObject) -> None:
    stream = b"".join(report_record(report) for report in REPORTS)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader = TaskReportReader()
    found = [
        report
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for report in reader.feed(memoryview(stream)[begin:end])
    ]
    assert tuple(found) == REPORTS


@given(st.binary(max_size=200))
def test_any_bytes_are_reports_or_the_peers_fault(data: bytes) -> None:
    for reader in (TaskOrderReader(0), TaskReportReader()):
        with contextlib.suppress(PeerError):
            list(reader.feed(data))


@pytest.mark.parametrize("body", [b"\x93\x02\x91\x92\x01\x91\xc4\x01\0\x00", b"\x92\x09\x00", b"\xc1"])
def test_a_task_that_no_program_could_have_is_the_clients_fault(body: bytes) -> None:
    with pytest.raises(PeerError):
        list(TaskOrderReader(0).feed(len(body).to_bytes(4) + bytes(4) + body))


def test_a_record_has_a_bound() -> None:
    with pytest.raises(PeerError, match="a record of"):
        list(TaskReportReader().feed((RECORD_BYTES_MAX + 1).to_bytes(4)))


@pytest.mark.parametrize(
    ("feed", "head"),
    [
        (TaskOrderReader(0).feed, b"\xff\xff\xff\xff\x93\x02\x90"),
        (TaskReportReader().feed, b"\x94\x04\x90\xc2"),
        (TaskListReader().feed, b"\x93\x01\x90"),
    ],
    ids=["order", "report", "entry"],
)
def test_levels_without_end_in_a_field_of_a_newer_version_are_the_peers_fault(feed: Feed, head: bytes) -> None:
    """A user's order took the link to its parent from every node of the job; so did a node's report at the master."""
    body = b"\x91" * 200_000 + b"\xc0"
    size = len(head) - head.count(b"\xff") + len(body)
    with pytest.raises(PeerError, match="recursion"):
        list(feed(size.to_bytes(4, "big") + head + body))
