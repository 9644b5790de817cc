"""What a spool holds of tasks that the master has handed out: what each wrote, and how it ended.  Pure.

It is the standard output of each rank: every entry of the spool has some whole pieces and ends, as one msgpack array.
So a bound that drops a file drops whole ones, and a reader may begin at any entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Union

import msgspec

from gproc.records.entries import DATA_BYTES_MAX, Broken
from gproc.records.record import cut_words
from gproc.request.outcome import Outcome
from gproc.tasks.feed import TaskDone, TaskEvent
from gproc.wire.frames import STDERR, STDOUT

VALUES_BYTES_MAX: Final = 1000
"""The limit of a task's values in each entry: people see them with --tag and in a --joblog."""

_DATA_BYTES: Final = 64 << 10
"""Output in one piece."""

_ENDING_BYTES: Final = 10
"""The dots of a list that is cut, and its length."""

_VALUE_BYTES: Final = 5
"""What msgpack puts before a value, at most."""

_SPARE_BYTES: Final = 1000
"""What a piece or an end has beside its data and its values."""


class KeptPiece(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A task has written this.  stream: frames.STDOUT or frames.STDERR."""

    number: int
    line: int
    values: tuple[bytes, ...]
    stream: int
    data: bytes


class KeptEnd(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A task has ended.  slot 0: it is not known where it ran."""

    number: int
    line: int
    values: tuple[bytes, ...]
    slot: int
    outcome: Outcome
    seconds: float


KeptTask = Union[KeptPiece, KeptEnd]  # noqa: UP007 - msgspec wants it so on 3.11

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(tuple[KeptTask, ...])


def entries_of(events: Iterable[TaskEvent]) -> Iterator[bytes]:
    """The data of entries for what has happened to tasks of one rank."""
    together: list[KeptTask] = []
    size = 0
    for event in events:
        for kept in _kept(event):
            own = _SPARE_BYTES + VALUES_BYTES_MAX + (len(kept.data) if isinstance(kept, KeptPiece) else 0)
            if together and size + own > DATA_BYTES_MAX:
                yield _encoder.encode(together)
                together, size = [], 0
            together.append(kept)
            size += own
    if together:
        yield _encoder.encode(together)


def tasks_in(data: bytes) -> Sequence[KeptTask]:
    """What one entry has.  Raises: Broken."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Broken(str(error)) from error


def _kept(event: TaskEvent) -> Iterator[KeptTask]:
    task = event.task
    values = cut_words(task.values, VALUES_BYTES_MAX - _ENDING_BYTES, _VALUE_BYTES)
    if isinstance(event, TaskDone):
        yield KeptEnd(task.number, task.line, values, event.slot, event.outcome, event.seconds)
        return
    stream = STDOUT if event.stream == "stdout" else STDERR
    for begin in range(0, len(event.data), _DATA_BYTES):
        yield KeptPiece(task.number, task.line, values, stream, event.data[begin : begin + _DATA_BYTES])
