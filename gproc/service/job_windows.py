"""How large the windows of a job are, by what its user's jobs may have waiting at the master.  Pure.

A window is the output that a program may write before its reader answers.  What nobody reads fills all windows of its
job.  So the windows of a job take a part of the room that its user has left, and are smaller if it has many nodes below
the master.  They have MIN_WINDOW_BYTES as long as there is any room, and then LEAST_WINDOW_BYTES: a job's output is
slower then, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gproc.nodespec import Place
from gproc.relay.delivery import streams_of
from gproc.request.spec import Request
from gproc.service.window import kept_hops
from gproc.wire import frames
from gproc.wire.credit import MIN_WINDOW_BYTES, window_for

LEAST_WINDOW_BYTES: Final = 4 << 10

SPOOL_WINDOW_BYTES: Final = 256 << 10
"""The largest window of a job that begins detached: it bounds what waits for the disk if that is slow.  A thousand such
jobs of root that all write as fast as they can have half a GiB then."""

ROOMY_PART: Final = 2
"""All windows but the least ones fit into this part of a user's bound; the rest is for many jobs with the least."""

SHARE: Final = 4
"""Windows of more than MIN_WINDOW_BYTES take at most this part of the room that is left."""

NO_BOUND_BYTES: Final = 1 << 62


class JobWindow(NamedTuple):
    """window_bytes: of each of its streams.  held_bytes: what all of them may hold at the master."""

    window_bytes: int
    held_bytes: int


class JobShape(NamedTuple):
    """What decides how much may wait for a window's size.

    children: the nodes below the master that its ways begin with.  hops: of the longest way.  streams: of output.
    is_detached: its output goes to the disk alone.
    """

    children: int
    hops: int
    streams: int
    has_input: bool
    is_detached: bool = False

    def held_bytes(self, window_bytes: int) -> int:
        """The most that may wait at the master if these are its windows: its output from each child and for its client,
        and its input, with what is kept of it."""
        output = self.children * window_for(self.children, window_bytes) + window_bytes
        return self.streams * output + (kept_hops(self.hops) + 1) * window_bytes * self.has_input


def shape_of(request: Request, places: Sequence[Place], *, is_detached: bool) -> JobShape:
    """places: its nodes, never none."""
    children, hops = len({place[:1] for place in places}), max(map(len, places))
    return JobShape(children, hops, len(streams_of(request)), request.stdin, is_detached)


def window_of(shape: JobShape, roomy_bytes: int = NO_BOUND_BYTES) -> JobWindow:
    """The windows of a job.  roomy_bytes: what is left for windows that are larger than the least."""
    window_bytes = SPOOL_WINDOW_BYTES if shape.is_detached else frames.CLIENT_WINDOW_BYTES
    while window_bytes > MIN_WINDOW_BYTES and shape.held_bytes(window_bytes) > roomy_bytes // SHARE:
        window_bytes //= 2
    if shape.held_bytes(window_bytes) > roomy_bytes:
        window_bytes = LEAST_WINDOW_BYTES
    return JobWindow(window_bytes, shape.held_bytes(window_bytes))
