"""The events of a job, as `gproc.Job` gives them to its caller.  Pure."""

from __future__ import annotations

from typing import Literal, Union

import msgspec

from gproc.request.outcome import Outcome
from gproc.tasks.task import Task

Stream = Literal["stdout", "stderr", "files"]
"""files: the files that a job brings back, in the form of `gproc get`."""


class Started(msgspec.Struct, frozen=True):
    """The master has taken the job: it runs on these nodes, or will at once.

    nodes: places as people write them ("1/7"), by rank.  missing: nodes that were named and are not connected, folded
    into a node specification; "" if there are none.
    """

    nodes: tuple[str, ...]
    missing: str


class Staged(msgspec.Struct, frozen=True):
    """How much of a large bundle a node has, in bytes.  complete: it has all, and has checked it."""

    node: str
    received_bytes: int
    complete: bool
    rank: int


class Output(msgspec.Struct, frozen=True):
    """Output of a node's program.  Pieces of one stream come in order.  A piece may end in the middle of a line.

    time_s: when it came to the master, in Unix time, if that was asked for.
    task: which task of a list has written it, if the master hands out the tasks.
    """

    node: str
    stream: Stream
    data: bytes
    rank: int
    time_s: float | None = None
    task: Task | None = None


class TaskExited(msgspec.Struct, frozen=True):
    """A task of a list that the master hands out has ended.  All of its output came before this event.

    slot: the slot of the node in which it ran; 0: not known.  seconds: how long.  time_s: when it ended, in Unix time.
    """

    node: str
    task: Task
    slot: int
    outcome: Outcome
    seconds: float
    rank: int
    time_s: float


class Exited(msgspec.Struct, frozen=True):
    """The job has ended on this node.  All of its output there came before this event."""

    node: str
    outcome: Outcome
    rank: int


class Unreached(msgspec.Struct, frozen=True):
    """No way leads to these nodes now, folded into a node specification.

    until_s: their programs may run until then, in Unix time, and are lost if no other way is found; 0: they are
    reached again.
    """

    nodes: str
    reason: str
    until_s: float


class Skipped(msgspec.Struct, frozen=True):
    """This many bytes of output were not kept, at this place of the stream, because of a bound or a full disk.

    stream: "" if none of the job's output is here any more.
    """

    node: str
    stream: Stream | Literal[""]
    size: int
    rank: int


class Unkept(msgspec.Struct, frozen=True):
    """The master could not keep something that it should keep of a job; the job goes on.  reason: what, and why, for
    people."""

    reason: str


class Drained(msgspec.Struct, frozen=True):
    """Nodes of a job of tasks take no new ones any more."""

    ranks: tuple[int, ...]


class Departed(msgspec.Struct, frozen=True):
    """This program and the job have parted: the job goes on without it, and no event comes any more.

    reason: why the master ends the job instead; "" if it does not.
    """

    reason: str


Event = Union[Started, Staged, Output, TaskExited, Exited, Unreached, Skipped, Unkept, Drained, Departed]  # noqa: UP007
