"""One task of a job of tasks, from its start to the report of its end."""

from __future__ import annotations

import errno
import signal
import time
from typing import TYPE_CHECKING, Final

from gproc.launch.launcher import Process
from gproc.launch.protocol import ProgramEnded, SpawnFailed
from gproc.node.ended import outcome_of
from gproc.request.outcome import Lost, NotStarted, Outcome, Returned, Signalled, TimedOut
from gproc.shown import shown_text
from gproc.wire.tasks import Setup, TaskEnded, TaskOrder

if TYPE_CHECKING:
    import asyncio

OF_TASK: Final = frozenset({errno.E2BIG, errno.ENAMETOOLONG})
"""Errors of execve(2) that the task would meet on every node."""


class RunningTask:
    """A task that runs, or whose output is still to come."""

    def __init__(self, order: TaskOrder, slot: int) -> None:
        self.order = order
        self.slot = slot
        self.process: Process | None = None
        self.began_s = time.monotonic()
        self.ending: ProgramEnded | SpawnFailed | None = None
        self.pipes: dict[int, int] = {}
        """Our ends of its output, by descriptor, and the stream of each."""
        self.timer: asyncio.TimerHandle | None = None
        self.timed_out = False
        self.alike = False
        """Whether it has the view of another task."""

    def end(self, ending: ProgramEnded | SpawnFailed, setup: Setup | None, stopped_by: int) -> TaskEnded:
        """The report of its end.  stopped_by: the last signal with which the job was ended; 0: it was not."""
        seconds = time.monotonic() - self.began_s
        killed_by = signal.SIGKILL if stopped_by == signal.SIGKILL else 0
        outcome: Outcome = outcome_of(ending, killed_by=killed_by)
        elsewhere = isinstance(outcome, NotStarted)
        if isinstance(ending, SpawnFailed):
            if ending.stage == "exec" and ending.errno in OF_TASK:
                outcome, elsewhere = NotStarted(shown_text(ending.message), "not executable"), False
            elif ending.stage == "launcher" and ending.errno == errno.EPIPE:
                # What starts programs here has died, so the task may have run.
                outcome, elsewhere = Lost(shown_text(ending.message)), False
        elif self.timed_out and isinstance(outcome, Returned | Signalled):
            assert setup is not None and setup.timeout_s is not None
            outcome = TimedOut(setup.timeout_s, outcome)
        return TaskEnded(self.order.number, self.slot, outcome, seconds, elsewhere)
