"""How far a list of tasks is, on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gproc.cli.progress import HowFar, on_terminal
from gproc.client.sinks import Progress
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Place
from gproc.shown import count_text


class TaskCounts(NamedTuple):
    """done: tasks that have ended, of which `failed` have failed.  given: those that nodes have now; None: only the
    master knows."""

    done: int
    failed: int
    given: int | None

    def text(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        given = "" if self.given is None else f", {self.given} on nodes"
        return f"{count_text(self.done, 'task')} done{failed}{given}"


class TaskLine(HowFar):
    """The line of a list: how many tasks are done."""

    def __init__(self, counts: Callable[[], TaskCounts]) -> None:
        super().__init__()
        self._counts = counts

    def run(self, places: Sequence[Place], at_once: int | None, naming: Naming = PLACES) -> None:
        self.run_s = time.monotonic()

    def text(self) -> str:
        return self._counts().text()


def task_progress(counts: Callable[[], TaskCounts]) -> Progress:
    return on_terminal(lambda: TaskLine(counts))
