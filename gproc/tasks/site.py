"""One node, as the process that hands out tasks sees it.  Pure."""

from __future__ import annotations

from typing import Final

from gproc.errors import PeerError
from gproc.request.outcome import Outcome
from gproc.tasks.task import Task
from gproc.wire.tasks import WAITING_BYTES_MAX, TaskReportReader

AHEAD_S: Final = 0.2
"""Work that waits on a node.  The more there is, the fewer orders there are; but if a node dies, it is not known
whether it has begun with it."""

LEFT_S: Final = 0.05
"""A node that has no more than this gets more work.  It comes in a few ms, on a busy machine in some tens."""

AHEAD_MAX: Final = 128


class Site:
    """is_drained: whether it gets no new tasks, because it was drained."""

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
        return self.slots + min(AHEAD_MAX, self._done_in(AHEAD_S))

    def _done_in(self, seconds: float) -> int:
        """How many tasks it runs in this time."""
        return int(self.slots * seconds / self.mean_s) if self.mean_s else 0

    @property
    def room(self) -> int:
        """How many more it may have."""
        return max(0, self.depth - len(self.held))

    @property
    def is_free(self) -> bool:
        return self.closed is None and not self.is_drained and len(self.held) < self.slots

    @property
    def excess(self) -> int:
        """Tasks that wait there for a slot, at least."""
        return len(self.held) - self.slots

    @property
    def is_hungry(self) -> bool:
        """Whether it wants more now: not for each task that ends, so that one order brings several."""
        return self.excess <= min(AHEAD_MAX // 2, self._done_in(LEFT_S))

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
