"""How far a list of tasks is, on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gproc.cli.progress import RUN_LINE_AFTER_S, RUN_LINE_S, Bar, Silent
from gproc.cli.style import clear_line, draw_line
from gproc.client.sinks import Progress
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Place


class TaskCounts(NamedTuple):
    """done: tasks that have ended, of which `failed` have failed.  given: those that nodes have now; None: only the
    master knows."""

    done: int
    failed: int
    given: int | None

    def text(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        given = "" if self.given is None else f", {self.given} on nodes"
        return f"{self.done} task{'' if self.done == 1 else 's'} done{failed}{given}"


class TaskLine(Bar):
    """Of a list that takes over 2 s: how many tasks are done.  It is the bar while a large bundle is on its way."""

    def __init__(self, counts: Callable[[], TaskCounts]) -> None:
        super().__init__()
        self._counts = counts
        self._run_s: float | None = None
        self._line_is_there = False

    def run(self, places: Sequence[Place], at_once: int | None, naming: Naming = PLACES) -> None:
        self._run_s = time.monotonic()

    def tick(self) -> float | None:
        bar_s = super().tick()
        if bar_s is not None or self._run_s is None:
            return bar_s
        waited_s = time.monotonic() - self._run_s
        if waited_s < RUN_LINE_AFTER_S:
            return RUN_LINE_AFTER_S - waited_s
        draw_line(self._counts().text())
        self._line_is_there = True
        return RUN_LINE_S

    def clear(self) -> None:
        super().clear()
        if self._line_is_there:
            self._line_is_there = False
            clear_line()


def task_progress(counts: Callable[[], TaskCounts]) -> Progress:
    return TaskLine(counts) if sys.stderr.isatty() else Silent()
