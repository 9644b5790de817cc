"""What a client and the master say to each other of jobs whose tasks the master hands out (`gproc map --detach`).

The list is the standard input that the client sends: records as of `gproc.wire.tasks.listed_record`.  When its end is
here, the client may leave.  A master of an older release ends the connection of a client that sends `SubmitTasks`; the
others are sent only to a client that has asked for tasks in its ViewJob.  Pure.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gproc.request.limits import COUNT_MAX, SLOTS_MAX
from gproc.request.outcome import Outcome
from gproc.request.spec import TIMEOUT_MAX_S, Request
from gproc.wire.branch import Number, Seconds, UnixTime
from gproc.wire.job_messages import Keep
from gproc.wire.messages import Message, Rank
from gproc.wire.tags import tag_of

LIST_BYTES_MAX: Final = 64 << 20
LIST_TASKS_MAX: Final = 1_000_000
"""A list that the master keeps: its records, and how many."""

NOTED_LINES_MAX: Final = 1000
"""Lines that say how the tasks of one job ended."""

Values = tuple[bytes, ...]


class TaskListing(msgspec.Struct, frozen=True, array_like=True):
    """How the tasks of a list are handed out.

    slots, timeout_s, quoted: as of Setup.  max_fail: after so many failed tasks no more begin.
    noun: what an entry of the list is called: "line".
    """

    slots: Annotated[int, msgspec.Meta(ge=0, le=SLOTS_MAX)] = 0
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=TIMEOUT_MAX_S)] | None = None
    quoted: bool = False
    max_fail: Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)] | None = None
    noun: Annotated[str, msgspec.Meta(min_length=1, max_length=20)] = "line"


class SubmitTasks(Message, frozen=True, tag=tag_of):
    """As SubmitKept, for a job of tasks whose list follows.  It is for detached jobs alone."""

    serial: Number
    request: Request
    keep: Keep
    listing: TaskListing

    def __post_init__(self) -> None:
        if self.request.action != "map" or not self.keep.detach or self.keep.survive:
            raise ValueError("a list of tasks is for a job with the action map that is detached")


class TaskSpeaks(Message, frozen=True, tag=tag_of):
    """The output of this rank that comes next is of this task.  line: where it stands in the list.  values: cut to a
    bound."""

    view: Number
    rank: Rank
    number: Number
    line: Number
    values: Values


class TaskFinished(Message, frozen=True, tag=tag_of):
    """A task has ended, and all of its output came before.  slot 0: it is not known where it ran.  time_s: when."""

    view: Number
    rank: Rank
    number: Number
    line: Number
    values: Values
    slot: Number
    outcome: Outcome
    seconds: Seconds
    time_s: UnixTime


class TasksConcluded(Message, frozen=True, tag=tag_of):
    """All tasks have ended.  status: what `gproc map` would end with.  lines: what it would say."""

    view: Number
    status: Annotated[int, msgspec.Meta(ge=0, le=255)]
    lines: Annotated[tuple[str, ...], msgspec.Meta(max_length=NOTED_LINES_MAX)] = ()
