"""Answers of several nodes become one: equal stacks once, with the ranks that have them.  Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from gproc.wire.stacks import RANGES_MAX, ROWS_MAX, Ranks, StackRemark, StackRow, StacksShown

PAIRS_MAX: Final = 400_000
"""The limit of pairs of a stack and a rank: 5,000 nodes with 80 stacks each.  A set of so many takes 25 MB."""


def ranges_of(ranks: Iterable[int]) -> Ranks:
    """The ranks as ranges: at most RANGES_MAX of them, the lowest."""
    found: list[tuple[int, int]] = []
    for rank in sorted(ranks):
        if found and rank == found[-1][1] + 1:
            found[-1] = (found[-1][0], rank)
        else:
            found.append((rank, rank))
    return tuple(found[:RANGES_MAX])


def within(ranges: Ranks, allowed: Sequence[int]) -> list[int]:
    """The allowed ranks that lie in a range; the allowed ranks are sorted.  Ranges that are in no order end it."""
    found: list[int] = []
    last = -1
    for first, end in ranges:
        if first <= last:
            break
        last = max(first, end)
        begin = bisect_left(allowed, first)
        found += allowed[begin : bisect_left(allowed, end + 1, begin)]
    return found


class StackMerge:
    """What has come of one inquiry.  What is beyond the bounds is counted in `left_out`."""

    def __init__(self, job: int, inquiry: int) -> None:
        self.job = job
        self.inquiry = inquiry
        self.ranks: set[int] = set()
        self.left_out = 0
        self._rows: dict[tuple[str, ...], tuple[int, set[int]]] = {}
        self._remarks: dict[str, set[int]] = {}
        self._pairs = 0

    def add(self, shown: StacksShown, allowed: Sequence[int]) -> None:
        """Take an answer.  allowed: whose ranks may be in it, sorted; what it says of others is dropped."""
        new = [rank for rank in within(shown.ranks, allowed) if rank not in self.ranks]
        self.ranks.update(new)
        for row in shown.rows:
            ranks = within(row.ranks, new)
            threads, held = self._rows.get(row.frames, (0, set()))
            self._pairs += len(ranks)
            if self._pairs > PAIRS_MAX or (not held and len(self._rows) >= ROWS_MAX):
                self.left_out += row.threads
            elif ranks:
                held.update(ranks)
                self._rows[row.frames] = threads + row.threads, held
        for remark in shown.remarks:
            ranks = within(remark.ranks, new)
            self._pairs += len(ranks)
            known = remark.text in self._remarks or len(self._remarks) < ROWS_MAX
            if ranks and known and self._pairs <= PAIRS_MAX:
                self._remarks.setdefault(remark.text, set()).update(ranks)
        self.left_out += shown.left_out

    def rows(self) -> tuple[StackRow, ...]:
        return tuple(
            StackRow(frames, threads, ranges_of(ranks)) for frames, (threads, ranks) in sorted(self._rows.items())
        )

    def remarks(self) -> tuple[StackRemark, ...]:
        return tuple(StackRemark(text, ranges_of(ranks)) for text, ranks in sorted(self._remarks.items()))

    def shown(self) -> StacksShown:
        """All of it, as one message."""
        ranks = ranges_of(self.ranks)
        return StacksShown(self.job, self.inquiry, ranks, self.rows(), self.remarks(), self.left_out)
