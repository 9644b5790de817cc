"""Boxes of numbered nodes, and what is left of one without others.  Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

Range = tuple[int, int]
"""First and last id, both included."""

Box = tuple[Range, ...]
"""One range for each level: exactly the nodes that deep whose ids lie in their ranges."""

MAX_DIGITS: Final = 10
"""Ten digits hold every 32-bit number; a longer one is a slip of the keyboard."""

EVERY: Final[Range] = (1, 10**MAX_DIGITS)
"""What "." means.  Its end is above every number that can be written, so it equals no range with numbers."""


class Work:
    """How many steps one question may still take."""

    def __init__(self, steps: int, refusal: Callable[[], Exception]) -> None:
        """refusal: makes what is raised when the steps are spent."""
        self._left = steps
        self._refusal = refusal

    def spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise self._refusal()


class Holes:
    """Excluded boxes, by their number of levels and sorted by their first level."""

    def __init__(self, boxes: Iterable[Box]) -> None:
        self._boxes: dict[int, list[Box]] = {}
        for box in sorted(set(boxes)):
            self._boxes.setdefault(len(box), []).append(box)
        self._starts = {levels: [box[0][0] for box in boxes] for levels, boxes in self._boxes.items()}
        # The last id of all boxes up to here: boxes that end before a range are not looked at.
        self._ends = {
            levels: list(accumulate((box[0][1] for box in boxes), max)) for levels, boxes in self._boxes.items()
        }

    def touching(self, box: Box, work: Work) -> list[Box]:
        """The excluded boxes that cut something from box."""
        boxes, ends = self._boxes.get(len(box), []), self._ends.get(len(box), [])
        found = []
        at = bisect_right(self._starts.get(len(box), []), box[0][1]) - 1
        while at >= 0 and ends[at] >= box[0][0]:
            work.spend(1)
            if all(_cuts(level, other) for level, other in zip(box, boxes[at], strict=True)):
                found.append(boxes[at])
            at -= 1
        return found


def _cuts(level: Range, hole: Range) -> bool:
    """What is left of "." beside 4 has no text but 1-3 and 5-9999999999, which would name those nodes."""
    return hole[0] <= level[1] and level[0] <= hole[1] and (level != EVERY or hole == EVERY)


def rest_of(box: Box, holes: list[Box], work: Work) -> list[Box]:
    """box less holes that all touch it: its first level falls into ranges over each of which the same holes lie."""
    (first, last), below = box[0], box[1:]
    bounds = {first, last + 1}
    for hole in holes:
        bounds.update((max(first, hole[0][0]), min(last, hole[0][1]) + 1))
    edges = sorted(bounds)
    starts: dict[int, list[Box]] = {}
    for hole in sorted(holes):
        starts.setdefault(max(first, hole[0][0]), []).append(hole)
    pieces: list[Box] = []
    over: list[Box] = []
    for begin, end in pairwise(edges):
        over = [hole for hole in over if hole[0][1] >= begin] + starts.get(begin, [])
        work.spend(len(box) + len(over))
        if not over:
            pieces.append(((begin, end - 1), *below))
        elif below:
            rests = rest_of(below, [hole[1:] for hole in over], work)
            pieces += [((begin, end - 1), *rest) for rest in rests]
    return pieces


def gaps(level: Range, present: Sequence[int]) -> Iterator[Range]:
    """The parts of a range that hold none of the ids in it, which ascend."""
    first, last = level
    for node in present:
        if first < node:
            yield first, node - 1
        first = node + 1
    if first <= last:
        yield first, last


def merged(boxes: list[Box]) -> list[Box]:
    """The union of boxes of one depth: where all but one level agree, that level's ranges become one.

    The deepest level first, as siblings are more often alike than cousins.
    """
    for depth in reversed(range(len(boxes[0]))):
        alike: dict[tuple[Box, Box], list[Range]] = {}
        for box in boxes:
            alike.setdefault((box[:depth], box[depth + 1 :]), []).append(box[depth])
        boxes = [(*above, level, *below) for (above, below), levels in alike.items() for level in _union(levels)]
    return sorted(boxes)


def _union(ranges: list[Range]) -> list[Range]:
    ranges.sort()
    union = [ranges[0]]
    for first, last in ranges:
        if first <= union[-1][1] + 1:
            union[-1] = (union[-1][0], max(union[-1][1], last))
        else:
            union.append((first, last))
    return union
