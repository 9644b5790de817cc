"""Where the processes of a job are: the question of a client, and the answers of nodes on their way up.  Pure.

The question goes down as an order that the master signs (`gproc.request.acts.ShowStacks`).  Relays merge what nodes
answer (`gproc.relay.stack_merge`).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gproc.wire.branch import NodeNumber, Number
from gproc.wire.messages import Message, Rank, Reason
from gproc.wire.tags import tag_of

FRAME_CHARACTERS_MAX: Final = 200

FRAMES_MAX: Final = 160
"""The limit of one stack: a node shows 16 programs, 100 functions of the program and 40 of the kernel at most."""

ROWS_MAX: Final = 2048
"""Different stacks in one message."""

RANGES_MAX: Final = 8192

RANK_HAS_ENDED: Final = "has ended"
"""Why a rank of `JobStacks.silent` has nothing to show, if that is no failure."""

Ranks = Annotated[tuple[tuple[Rank, Rank], ...], msgspec.Meta(max_length=RANGES_MAX)]
"""Ranges of ranks, the first and the last of each, in order and apart from each other."""

StackFrame = Annotated[str, msgspec.Meta(max_length=FRAME_CHARACTERS_MAX)]


class StackRow(msgspec.Struct, frozen=True, array_like=True):
    """Threads that are at the same place.

    frames: the outermost first: the names of the programs that started one another, the functions of the program, those
    of the kernel, and last what the thread does.  threads: how many are there.  ranks: the ranks that have them.
    """

    frames: Annotated[tuple[StackFrame, ...], msgspec.Meta(max_length=FRAMES_MAX)]
    threads: Number
    ranks: Ranks


class StackRemark(msgspec.Struct, frozen=True, array_like=True):
    """What these ranks do not show, and why."""

    text: Reason
    ranks: Ranks


StackRows = Annotated[tuple[StackRow, ...], msgspec.Meta(max_length=ROWS_MAX)]
StackRemarks = Annotated[tuple[StackRemark, ...], msgspec.Meta(max_length=ROWS_MAX)]


class StacksShown(Message, frozen=True, tag=tag_of):
    """Where the processes of some ranks are.  ranks: all that answer here, also those that have no process.

    inquiry: as of the order.  left_out: threads that are in no row, because there are too many.
    """

    job: Number
    inquiry: Number
    ranks: Ranks
    rows: StackRows
    remarks: StackRemarks = ()
    left_out: Number = 0


class AskStacks(Message, frozen=True, tag=tag_of):
    """Asks where the processes of a job are.

    job: its number, its name, or "last".  nodes: a node specification; "" for all.
    debugger: by gdb too, which stops each process for a moment.
    """

    serial: Number
    job: Annotated[str, msgspec.Meta(max_length=64)]
    nodes: str = ""
    debugger: bool = False


class JobStacks(Message, frozen=True, tag=tag_of):
    """Answers AskStacks.  places[rank]: the node of that rank.  asked: the ranks that the question means.

    ranks, rows, remarks, left_out: as of StacksShown.  silent: of the ranks that are asked and do not answer, why.
    """

    serial: Number
    job: Number
    places: tuple[tuple[NodeNumber, ...], ...]
    asked: Ranks
    ranks: Ranks
    rows: StackRows
    remarks: StackRemarks = ()
    left_out: Number = 0
    silent: StackRemarks = ()
