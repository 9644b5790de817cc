"""What a client and the master say to each other about jobs that the client did not start just now.

A master of an older release knows none of these, and ends the connection of a client that sends one.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from gproc.wire.branch import Number
from gproc.wire.messages import Message
from gproc.wire.tags import tag_of

LISTED_MAX: Final = 10_000
"""Jobs in one answer: some 2 MB."""

JobText = Annotated[str, msgspec.Meta(max_length=64)]
"""A job's number, its name, or "last"."""


class ListJobs(Message, frozen=True, tag=tag_of):
    """Asks for the user's jobs; root, and the user who runs the master, get those of all.  ended: ended ones too."""

    serial: Number
    ended: bool


class JobRow(msgspec.Struct, frozen=True, array_like=True):
    """A row of `gproc ps`.

    nodes: folded.  state: "running", "ending", "ended" or "lost" (with its master).  status: the highest exit status;
    None while it runs.  started_s, ended_s: Unix time; 0: it runs.  argv: cut to a bound.
    """

    number: Number
    name: str
    uid: Number
    nodes: str
    state: str
    status: int | None
    started_s: float
    ended_s: float
    argv: tuple[bytes, ...]


class JobList(Message, frozen=True, tag=tag_of):
    """Answers ListJobs: the newest, the oldest of them first.  left_out: how many older ones there are."""

    serial: Number
    jobs: tuple[JobRow, ...]
    left_out: Number = 0
