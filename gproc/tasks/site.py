"""One node, as it is seen by whoever hands out tasks.  Pure."""

from __future__ import annotations

from typing import Final

from gproc.errors import PeerError
from gproc.request.outcome import Outcome
from gproc.tasks.task import Task
from gproc.wire.tasks import WAITING_BYTES_MAX, TaskReportReader

AHEAD_S: Final = 0.05
"""Work that waits on a node.  An answer comes back in a few ms, on a busy machine in some tens."""

AHEAD_MAX: Final = 128


class Site:
    """is_drained: whether it gets no new tasks, because somebody has said so."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.slots = 0
        self.held: dict[int, Task] = {}
        self.held_bytes = 0
        self.mean_s = 0.0
        self.recalled = False
        self.is_drained = False
        self.closed: Outcome | None = None
        """Why it gets no more tasks."""
        self.is_broken = False
        self.reports = TaskReportReader()

    @property
    def depth(self) -> int:
        """How many tasks it may have."""
        if self.closed is not None or self.is_drained or not self.slots:
            return 0
        ahead = int(self.slots * AHEAD_S / self.mean_s) if self.mean_s else 0
        return self.slots + min(AHEAD_MAX, ahead)

    @property
    def is_free(self) -> bool:
        return self.closed is None and not self.is_drained and len(self.held) < self.slots

    @property
    def excess(self) -> int:
        """Tasks that wait there for a slot, at least."""
        return len(self.held) - self.slots

    @property
    def is_hungry(self) -> bool:
        """Whether it gets more: not for each task that ends, so that one message brings several."""
        return self.is_free or (self.depth > 0 and 2 * len(self.held) <= self.depth)

    def takes(self, task: Task) -> bool:
        return not self.held or self.held_bytes + task.size_bytes <= WAITING_BYTES_MAX

    def give(self, task: Task) -> None:
        self.held[task.number] = task
        self.held_bytes += task.size_bytes

    def lose(self, number: int) -> Task:
        """Raises: PeerError if it does not have this task."""
        task = self.held.pop(number, None)
        if task is None:
            raise PeerError(f"a report about task {number}, which it does not have")
        self.held_bytes -= task.size_bytes
        return task
