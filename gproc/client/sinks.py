"""Takers of a job's output, for callers that do not iterate over events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gproc.client.events import Stream
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Place


class Sink(Protocol):
    """Takes the output of one job."""

    def begin(self, places: Sequence[Place]) -> None:
        """Take the nodes of the job, by rank.  This is the first call."""

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        """Take output of a node.  The view is valid only during the call."""

    def finish(self) -> None:
        """This is the last call, no matter how the job ended."""


class Progress(Protocol):
    """Shows how far a large bundle is on its way, and later on how many nodes are done."""

    def begin(self, nodes: int, bundle_bytes: int) -> None: ...

    def staged(self, rank: int, received_bytes: int, complete: bool) -> None: ...

    def run(self, places: Sequence[Place], at_once: int | None, naming: Naming = PLACES) -> None:
        """The job runs on these nodes, by rank; at_once: on so many at a time, None: on all."""

    def ended(self, rank: int, well: bool) -> None: ...

    def tick(self) -> float | None:
        """Show what is new.  Returns the seconds until the next call is due; None if none is."""

    def clear(self) -> None:
        """Clear the line, because something else is about to be written to the terminal."""
