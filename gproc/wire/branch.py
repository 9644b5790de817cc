"""The part of a job that one node and those below it get.  Pure."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gproc.wire import frames

NUMBER_MAX: Final = 2**63 - 1
"""What every msgpack reader can hold."""

Number = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
NodeNumber = Number
ByteCount = Number
UnixTime = Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
"""Seconds, to the end of the year 9999: localtime(3) takes each.  No bound takes a NaN."""

Load1 = Annotated[float, msgspec.Meta(ge=0, le=10**9)]
"""A load average."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**9)]
StreamBytes = Annotated[tuple[ByteCount, ...], msgspec.Meta(min_length=2, max_length=3)]


class Branch(msgspec.Struct, frozen=True, array_like=True):
    """The part of a job that is meant for one node and those below it.

    rank: of the node itself; -1 if it only relays.
    said: bytes of each of its output streams that the master has: standard output, standard error, and the files that
    come back, if the job brings any.  A node that has the job already
    sends what comes after them once more.
    """

    rank: Annotated[int, msgspec.Meta(ge=-1, lt=frames.EVERY_RANK)]
    children: dict[NodeNumber, Branch]
    said: StreamBytes = (0, 0)

    def most_below(self) -> int:
        """The most that one node of it passes the job on to: its children, and its own program."""
        here = len(self.children) + (self.rank >= 0)
        return max([here, *(child.most_below() for child in self.children.values())])

    def ranks(self) -> list[int]:
        found = [self.rank] if self.rank >= 0 else []
        for child in self.children.values():
            found += child.ranks()
        return found
