"""What the nodes say went wrong, line by line, told once for all nodes that say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from gproc.client.summary import summarise
from gproc.copy.builtin import FAILED
from gproc.copy.shown import shown
from gproc.nodespec import Path, fold
from gproc.wire.messages import Outcome

LINES_MAX: Final = 20
"""Kept of each node: a person reads no more, and 5,000 nodes shall not fill the memory of the one who reads."""

LINE_BYTES_MAX: Final = 8 << 10
"""A path of PATH_MAX bytes, each escaped at worst, is cut; its node cannot make us keep more."""


class Complaints:
    """A sink for standard error; nodes say nothing on standard output."""

    def __init__(self) -> None:
        self._paths: Sequence[Path] = ()
        self._begun: dict[int, bytes] = {}
        self._lines: dict[int, list[str]] = {}
        self._dropped: dict[int, int] = {}

    def begin(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def output(self, rank: int, stream: int, data: memoryview) -> None:
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
        kept = self._lines.setdefault(rank, [])
        if len(kept) < LINES_MAX:
            kept.append(line)
        else:
            self._dropped[rank] = self._dropped.get(rank, 0) + 1

    def told(self, outcomes: Mapping[int, Outcome], missing: str) -> tuple[int, list[str]]:
        """Exit status and the lines for stderr, those of `gproc.client.summary` last."""
        saying: dict[str, list[Path]] = {}
        for rank, kept in sorted(self._lines.items()):
            for line in dict.fromkeys(kept):
                saying.setdefault(line, []).append(self._paths[rank])
            if rank in self._dropped:
                saying.setdefault(f"and {self._dropped[rank]} more", []).append(self._paths[rank])
        lines = [f"{fold(paths)}: {line}" for line, paths in saying.items()]
        named = {rank: self._named(rank, outcome) for rank, outcome in outcomes.items()}
        status, summary = summarise(self._paths, named, missing)
        return status, lines + summary

    def _named(self, rank: int, outcome: Outcome) -> Outcome:
        """An errand's own failure in words; what else went wrong has its words."""
        if outcome.failure or outcome.signal or outcome.status not in (0, FAILED) or rank not in self._lines:
            return outcome
        return msgspec.structs.replace(outcome, status=FAILED, failure="not everything was copied")
