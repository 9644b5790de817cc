"""What a client and the nodes of one job say to each other of its tasks (`gproc map`).  Pure.

It travels in the job's own streams: orders in its standard input, which the master signs block by block, so no relay
can add or change a task; reports in the standard output of each rank, whose digest the node signs.

    standard input:   length u32 | rank u32 | msgpack of an order; rank 0xFFFFFFFF: for every node
    standard output:  length u32 | msgpack of a report

The list of a job whose tasks the master hands out comes to it as the standard input of the client:

    length u32 | msgpack of a TaskOrder, whose number says where in the list it stands

If a node gets something that is no order, or more tasks than may wait there, it ends its part of the job.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, Final, Union

import msgspec

from gproc.errors import PeerError
from gproc.request.limits import SLOTS_MAX
from gproc.request.outcome import Outcome
from gproc.request.spec import TIMEOUT_MAX_S
from gproc.request.template import VALUE_BYTES_MAX
from gproc.wire.branch import Number, Seconds
from gproc.wire.frames import EVERY_RANK, STDERR, STDOUT

WAITING_TASKS_MAX: Final = 512
WAITING_BYTES_MAX: Final = 2 << 20
"""What may wait on one node for a slot."""

VALUES_MAX: Final = 4096
"""Values of one task."""

RECORD_BYTES_MAX: Final = 1 << 20
"""One order or report."""

FAILED_MAX: Final = 101
"""How many failed tasks are told apart in a status, as GNU parallel has it: 101 is more than 100."""

SAID_BYTES: Final = 64 << 10
"""Output in one report: what a pipe holds."""

Slots = Annotated[int, msgspec.Meta(ge=0, le=SLOTS_MAX)]
Value = Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]


class TaskOrder(msgspec.Struct, frozen=True, array_like=True):
    """One task.  number: the client's own.  values: replace `{}` in the job's command."""

    number: Number
    values: Annotated[tuple[Value, ...], msgspec.Meta(max_length=VALUES_MAX)]

    def __post_init__(self) -> None:
        if any(b"\0" in value for value in self.values):
            raise ValueError("a zero byte in a value: execve(2) takes none")

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.values))


class Setup(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first order, for every node.

    slots: tasks at a time; 0: as many as the node has processors.  timeout_s: of one task.
    quoted: the command is a line for a shell.
    """

    slots: Slots = 0
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=TIMEOUT_MAX_S)] | None = None
    quoted: bool = False


class Assign(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Run these tasks, in this order, as slots become free."""

    tasks: Annotated[tuple[TaskOrder, ...], msgspec.Meta(max_length=WAITING_TASKS_MAX)]


class Recall(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Give back the tasks that wait for a slot, by `TasksReturned`, even if there are none."""


class TasksReady(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first report: the bundle is here, and so many tasks can run at a time."""

    slots: Annotated[int, msgspec.Meta(ge=1, le=SLOTS_MAX)]


class TaskSaid(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Output of a task."""

    number: Number
    stream: Annotated[int, msgspec.Meta(ge=STDOUT, le=STDERR)]
    data: bytes


class TaskEnded(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A task has ended, and all of its output was reported before.

    seconds: how long it ran.  elsewhere: it never ran, and another node may run it.
    """

    number: Number
    slot: Slots
    outcome: Outcome
    seconds: Seconds
    elsewhere: bool = False


class TasksReturned(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """These tasks were not begun, and will not be.  recalled: this answers `Recall`."""

    numbers: tuple[Number, ...]
    recalled: bool = False


TaskOrders = Union[Setup, Assign, Recall]  # noqa: UP007 - msgspec wants it so on 3.11
TaskReport = Union[TasksReady, TaskSaid, TaskEnded, TasksReturned]  # noqa: UP007

_encoder = msgspec.msgpack.Encoder()
_orders = msgspec.msgpack.Decoder(TaskOrders)
_listed = msgspec.msgpack.Decoder(TaskOrder)
_reports = msgspec.msgpack.Decoder(TaskReport)
_ORDER: Final = struct.Struct("!II")
_REPORT: Final = struct.Struct("!I")


def order_record(order: TaskOrders, rank: int = EVERY_RANK) -> bytes:
    body = _encoder.encode(order)
    return _ORDER.pack(len(body), rank) + body


def report_record(report: TaskReport) -> bytes:
    body = _encoder.encode(report)
    return _REPORT.pack(len(body)) + body


def listed_record(line: int, values: tuple[bytes, ...]) -> bytes:
    """An entry of a list."""
    body = _encoder.encode(TaskOrder(line, values))
    return _REPORT.pack(len(body)) + body


class TaskOrderReader:
    """Reads the orders for one rank out of a job's standard input."""

    def __init__(self, rank: int) -> None:
        self._ranks = (rank, EVERY_RANK)
        self._records = _Records(_ORDER.size)

    def feed(self, data: bytes) -> Iterator[TaskOrders]:
        """Raises: PeerError for what is no order."""
        for head, body in self._records.feed(data):
            if _ORDER.unpack(head)[1] in self._ranks:
                try:
                    order: TaskOrders = _orders.decode(body)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise PeerError(f"not an order about tasks: {error}") from error
                yield order


class TaskReportReader:
    """Reads the reports of one rank out of its standard output."""

    def __init__(self) -> None:
        self._records = _Records(_REPORT.size)

    def feed(self, data: bytes | memoryview) -> Iterator[TaskReport]:
        """Raises: PeerError for what is no report."""
        for _head, body in self._records.feed(data):
            try:
                report: TaskReport = _reports.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise PeerError(f"not a report about tasks: {error}") from error
            yield report


class TaskListReader:
    """Reads the entries of a list."""

    def __init__(self) -> None:
        self._records = _Records(_REPORT.size)

    @property
    def is_at_end(self) -> bool:
        """Whether no entry is incomplete."""
        return self._records.is_empty

    def feed(self, data: bytes) -> Iterator[TaskOrder]:
        """Raises: PeerError for what is no entry."""
        for _head, body in self._records.feed(data):
            try:
                entry = _listed.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise PeerError(f"not an entry of a list of tasks: {error}") from error
            yield entry


class _Records:
    """Cuts a stream into records of at most RECORD_BYTES_MAX, each behind a head that begins with its length."""

    def __init__(self, head_bytes: int) -> None:
        self._head_bytes = head_bytes
        self._buffer = bytearray()

    @property
    def is_empty(self) -> bool:
        return not self._buffer

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[bytes, bytes]]:
        self._buffer += data
        begin = 0
        while len(self._buffer) - begin >= self._head_bytes:
            length = int.from_bytes(self._buffer[begin : begin + 4])
            if length > RECORD_BYTES_MAX:
                raise PeerError(f"a record of {length} bytes; {RECORD_BYTES_MAX} are allowed")
            end = begin + self._head_bytes + length
            if len(self._buffer) < end:
                break
            head = bytes(self._buffer[begin : begin + self._head_bytes])
            yield head, bytes(self._buffer[begin + self._head_bytes : end])
            begin = end
        del self._buffer[:begin]
