"""The states of a job, as its client is told of them.  Pure.

    PENDING --> ACTIVE --> DONE or FAILED
       '---------------------^

A state never goes back, and a client hears of each change once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gproc.adapters.invoke.protocol import Status

MOVES: Final[Mapping[Status, frozenset[Status]]] = {
    "PENDING": frozenset({"ACTIVE", "DONE", "FAILED"}),
    "ACTIVE": frozenset({"DONE", "FAILED"}),
    "DONE": frozenset(),
    "FAILED": frozenset(),
}


class JobStates:
    """The state of one job."""

    def __init__(self) -> None:
        self.status: Status = "PENDING"

    @property
    def ended(self) -> bool:
        return not MOVES[self.status]

    def move(self, to: Status) -> bool:
        """Whether it is a change.  Any other move is ignored."""
        if to not in MOVES[self.status]:
            return False
        self.status = to
        return True


def end_status(*, failed: bool, destroyed: bool) -> Status:
    """How a job ended.  The manual wants DONE for a job that its client destroyed, however its processes ended."""
    return "FAILED" if failed and not destroyed else "DONE"
