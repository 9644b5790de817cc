"""What became of the tasks of one list, for people: which failed and how, which were lost; exit status.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gproc.errors import EXIT_GPROC
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Path
from gproc.request.outcome import Killed, Lost, Returned, Signalled
from gproc.request.wording import describe
from gproc.tasks.feed import TaskDone, TaskFeed
from gproc.tasks.task import Task
from gproc.wire.tasks import FAILED_MAX

RANGES_KEPT_MAX: Final = 1000
"""Ranges of lines of one kind that are remembered."""

RANGES_SHOWN_MAX: Final = 20

KINDS_MAX: Final = 300
"""Endings that are told apart: more than there are exit statuses and signals, but nodes may send any text."""


class LineNumbers:
    """Some lines of the list: as many ranges are known as are kept, of the other lines only how many there are."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        """The last line of each range, by its first."""
        self._first: dict[int, int] = {}
        """The other way round."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, line: int) -> None:
        """A line that was not added before.  Tasks end in any order, so it may join two ranges."""
        self._count += 1
        is_apart = line - 1 not in self._first and line + 1 not in self._last
        if is_apart and len(self._last) >= RANGES_KEPT_MAX:
            return
        first = self._first.pop(line - 1, line)
        last = self._last.pop(line + 1, line)
        self._last[first] = last
        self._first[last] = first

    def text(self, noun: str) -> str:
        """Such as "lines 3, 7-9 and 12 more"."""
        ranges = sorted(self._last.items())[:RANGES_SHOWN_MAX]
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
