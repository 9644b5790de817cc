"""The nodes' error lines.  Each is shown once, with all nodes that sent it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Final

from gproc.client.events import Stream
from gproc.client.summary import summarise
from gproc.copy.builtin import FAILED
from gproc.naming.naming import PLACES, Naming
from gproc.nodespec import Path
from gproc.request.outcome import Outcome, Returned
from gproc.shown import shown

LINES_MAX: Final = 1000
"""The most lines that are kept of each node: people read no more, and 5,000 nodes must not fill our memory."""

LINES_SURE: Final = 20
"""The lines of each node that are kept in any case, even if other nodes send very many."""

TEXT_BYTES_MAX: Final = 16 << 20
"""The most lines of all nodes beyond those.  Equal lines count once: most nodes send the same."""

LINE_BYTES_MAX: Final = 8 << 10
"""A longer line is cut.  A path of PATH_MAX bytes, all of them escaped, would have 16 KiB."""


NOT_COPIED: Final = "not everything was copied"


class Complaints:
    """A sink for standard error.  In a `cp`, nodes write nothing to standard output."""

    def __init__(self, naming: Naming = PLACES) -> None:
        self._naming = naming
        self._paths: Sequence[Path] = ()
        self._begun: dict[int, bytes] = {}
        self._ranks: dict[str, array[int]] = {}
        """The ranks that sent each line, in the order in which lines came first."""
        self._counts: dict[int, int] = {}
        self._dropped: dict[int, int] = {}
        self._text_bytes = 0

    def begin(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def output(self, rank: int, stream: Stream, data: memoryview) -> None:
        self.feed(rank, data)

    def finish(self) -> None:
        for rank, rest in self._begun.items():
            self.add(rank, shown(rest))
        self._begun.clear()

    def feed(self, rank: int, data: memoryview) -> None:
        *whole, rest = (self._begun.pop(rank, b"") + data).split(b"\n")
        for line in whole:
            self.add(rank, shown(line[:LINE_BYTES_MAX]))
        if rest:
            self._begun[rank] = rest[:LINE_BYTES_MAX]

    def add(self, rank: int, line: str) -> None:
        count = self._counts.get(rank, 0)
        ranks = self._ranks.get(line)
        if ranks and ranks[-1] == rank:
            return  # this node has sent the line before
        spare = count < LINES_MAX and (ranks is not None or self._text_bytes + len(line) <= TEXT_BYTES_MAX)
        if count >= LINES_SURE and not spare:
            self._dropped[rank] = self._dropped.get(rank, 0) + 1
            return
        if ranks is None:
            ranks = self._ranks[line] = array("I")
            self._text_bytes += len(line) if count >= LINES_SURE else 0
        ranks.append(rank)
        self._counts[rank] = count + 1

    def told(self, outcomes: Mapping[int, Outcome], missing: str) -> tuple[int, list[str]]:
        """The exit status, and the lines for stderr: those of `gproc.client.summary` come last."""
        lines = self.lines()
        named = {rank: NOT_COPIED for rank, outcome in outcomes.items() if self._explains(rank, outcome)}
        status, summary = summarise(self._paths, outcomes, missing, named, naming=self._naming)
        return max(status, FAILED if named else 0), lines + summary

    def lines(self) -> list[str]:
        """Each line once, with its nodes."""
        lines = []
        for line, ranks in self._ranks.items():
            lines.append(f"{self._naming.fold(self._paths[rank] for rank in sorted(set(ranks)))}: {line}")
        dropped: dict[int, list[Path]] = {}
        for rank, count in sorted(self._dropped.items()):
            dropped.setdefault(count, []).append(self._paths[rank])
        lines += [f"{self._naming.fold(paths)}: and {count} more" for count, paths in dropped.items()]
        return lines

    def _explains(self, rank: int, outcome: Outcome) -> bool:
        """Whether this rank's lines explain its outcome.  All other outcomes have a text of their own."""
        return isinstance(outcome, Returned) and outcome.code in (0, FAILED) and rank in self._counts
