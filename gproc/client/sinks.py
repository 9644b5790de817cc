"""Where the output of a job goes that is not handed to a caller event by event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gproc.client.events import Stream
from gproc.nodespec import Place


class Sink(Protocol):
    """Takes the output of one job."""

    def begin(self, places: Sequence[Place]) -> None:
        """The nodes of the job, by rank; before anything else."""

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        """What a node said next; the view is only good during the call."""

    def finish(self) -> None:
        """Nothing more comes, whatever became of the job."""


class Progress(Protocol):
    """Is told how far a large bundle is."""

    def begin(self, nodes: int, bundle_bytes: int) -> None: ...

    def staged(self, rank: int, received_bytes: int, complete: bool) -> None: ...

    def tick(self) -> float | None:
        """Show what is new; seconds until the next call is due, None if none is."""

    def clear(self) -> None:
        """Out of the way: something else is about to be written to the terminal."""
