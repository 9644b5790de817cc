"""What became of the tasks of one list, for people: which failed and how, which were lost, and the exit status."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gproc.errors import EXIT_GPROC
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Path
from gproc.request.outcome import Killed, Lost, Returned, Signalled
from gproc.request.wording import describe
from gproc.tasks.feed import TaskDone, TaskFeed
from gproc.tasks.task import Task
from gproc.wire.tasks import FAILED_MAX

LINES_MAX: Final = 1000
"""LineNumbers of one kind that are remembered."""

RANGES_MAX: Final = 20
"""Ranges of lines that are shown."""


KINDS_MAX: Final = 300
"""Endings that are told apart: more than there are exit statuses and signals, but nodes may send any text."""


class LineNumbers:
    """Some lines of the list: the first LINES_MAX are known, of the others only how many there are."""

    def __init__(self) -> None:
        self._known: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, line: int) -> None:
        self._count += 1
        if len(self._known) < LINES_MAX:
            self._known.append(line)

    def text(self, noun: str) -> str:
        """Such as "lines 3, 7-9 and 12 more"."""
        ranges = _ranges(self._known)[:RANGES_MAX]
        shown = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)
        rest = self._count - sum(last - first + 1 for first, last in ranges)
        return f"{noun}{'s' if self._count > 1 else ''} {shown}" + (f" and {rest} more" if rest else "")


class Tally:
    """noun: what a task comes from: "line" or "argument"."""

    def __init__(self, noun: str = "line") -> None:
        self._noun = noun
        self._by_ending: dict[str, LineNumbers] = {}
        self.lost = LineNumbers()

    def add(self, done: TaskDone) -> None:
        if isinstance(done.outcome, Lost):
            self.lost.add(done.task.line)
        elif ending := describe(done.outcome):
            if ending not in self._by_ending and len(self._by_ending) >= KINDS_MAX:
                ending = "ended in yet another way"
            self._by_ending.setdefault(ending, LineNumbers()).add(done.task.line)

    def conclude(
        self, feed: TaskFeed, places: Sequence[Path], missing: str = "", naming: Naming = PLACES
    ) -> tuple[int, list[str]]:
        """The exit status, and what stderr says."""
        status = min(feed.failed, FAILED_MAX)
        lines = [f"{failed.text(self._noun)}: {ending}" for ending, failed in self._by_ending.items()]
        if self.lost:
            lines.append(f"{self.lost.text(self._noun)}: lost: nobody knows whether it ran, or how it ended")
            status = EXIT_GPROC
        by_reason: dict[str, list[Path]] = {}
        for rank, outcome in feed.closed.items():
            if outcome.status and not isinstance(outcome, Returned):  # that is the number of its tasks that failed
                if isinstance(outcome, Signalled | Killed) and outcome.signal in feed.signals:
                    continue  # it took no more tasks; how those that it had have ended was counted above
                by_reason.setdefault(describe(outcome), []).append(places[rank])
                status = max(status, outcome.status)
        lines += [f"{naming.fold(nodes)}: {reason}" for reason, nodes in by_reason.items()]
        if missing:
            lines.append(f"{missing}: not connected")
            status = max(status, EXIT_GPROC)
        if feed.stopped and (feed.has_rest or not lines):
            lines.append(stopped_text(feed.stopped, feed.first_not_run, self._noun, has_rest=feed.has_rest))
            status = status or EXIT_GPROC
        return status, lines


def stopped_text(why: str, first: Task | None, noun: str, *, has_rest: bool = True) -> str:
    if not has_rest:
        return f"{why}; all of the list had begun"
    rest = "the rest of the list was not run" if first is None else f"the list was not run from {noun} {first.line} on"
    return f"{rest}: {why}"


def _ranges(lines: Iterable[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for line in sorted(lines):
        if found and line == found[-1][1] + 1:
            found[-1] = (found[-1][0], line)
        else:
            found.append((line, line))
    return found
