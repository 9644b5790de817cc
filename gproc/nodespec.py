"""Which nodes: text to places in the tree, and back.  Pure: DESIGN section 3 is the grammar.

    <nodes>   ::= <path> | <path> "," <nodes>
    <path>    ::= [ "=" ] <nodeset> { "/" <nodeset> }
    <nodeset> ::= "." | <number> | <number> "-" <number>

A spec is a union of boxes: one range of numbers for each level.  All that is done here is done on ranges, so
`1-1000000000` costs what `1` costs; only nodes that are really connected are ever counted one by one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gproc.errors import SpecError

Path = tuple[int, ...]
"""A node's place: its id below the master, its id below that node, and so on; ids start at 1, never empty."""

Range = tuple[int, int]
"""First and last id, both included."""

Box = tuple[Range, ...]
"""One range for each level: exactly the nodes that deep whose ids lie in their ranges."""

MAX_DIGITS: Final = 10
"""Ten digits hold every 32-bit number; a longer one is a slip of the keyboard."""

EVERY: Final[Range] = (1, 10**MAX_DIGITS)
"""What "." means.  Its end is above every number that can be written, so it equals no range with numbers."""


class SpecPath(msgspec.Struct, frozen=True):
    """One path of a spec: the nodes of its box and, unless exact, those on the way to them."""

    levels: Box
    exact: bool

    def __str__(self) -> str:
        return ("=" if self.exact else "") + "/".join(map(_format_range, self.levels))

    def selects(self, path: Path) -> bool:
        if len(path) > len(self.levels) or (self.exact and len(path) != len(self.levels)):
            return False
        return all(first <= node <= last for node, (first, last) in zip(path, self.levels, strict=False))

    def boxes(self) -> list[Box]:
        """The same nodes, told level by level."""
        shallowest = len(self.levels) if self.exact else 1
        return [self.levels[:depth] for depth in range(shallowest, len(self.levels) + 1)]


class NodeSpec(msgspec.Struct, frozen=True):
    """What a person asked for; `str()` of it parses back to an equal value."""

    paths: tuple[SpecPath, ...]

    @classmethod
    def parse(cls, text: str) -> NodeSpec:
        """Raises: SpecError at the first character that cannot stand there, or where a bad number begins."""
        return cls(_Reader(text).paths())

    @classmethod
    def parse_exclusion(cls, text: str) -> NodeSpec:
        """As `parse`, with every path read as if it began with "=": to exclude 1/4 is not to exclude 1."""
        return cls(tuple(_spec_path(path.levels, exact=True) for path in _Reader(text).paths()))

    def __str__(self) -> str:
        return ",".join(map(str, self.paths))

    def selects(self, path: Path) -> bool:
        return any(candidate.selects(path) for candidate in self.paths)

    def select(self, connected: Iterable[Path]) -> list[Path]:
        """Those of connected that are selected, in their order.

        connected holds every node's parent too, as a tree does.  The work grows with what is found and not
        with connected times paths: specs made by `fold` can have a thousand paths.
        """
        nodes = list(connected)
        children = _children(nodes)
        selected: set[Path] = set()
        for path in self.paths:
            for place, present in _descend(path, children):
                if not path.exact or len(place) == len(path.levels) - 1:
                    selected.update((*place, node) for node in present)
        return [node for node in nodes if node in selected]

    def missing(self, connected: Iterable[Path], exclusion: NodeSpec | None = None) -> str:
        """The part of this spec that is asked for by number and cannot be had, "" where there is none.

        connected holds every node's parent too, as a tree does.  "." asks for nobody: where it stands for the
        children of a connected node, none of them is missed.  Below a missing node the rest of its path
        is missing whole, so that the answer, pasted into the next command, asks for what this one did not
        get and for nothing else.  Excluded nodes are not missed; a "." that is missing is given uncut, and
        wants the same exclusion again.
        """
        children = _children(connected)
        absent = [part for path in self.paths for part in _absent(path, children)]
        if exclusion is not None:
            excluded = [box for path in exclusion.paths for box in path.boxes()]
            absent = [rest for part in absent for rest in _without(part, excluded)]
        return _format(absent)


def parse_path(text: str) -> Path:
    """The place that `format_path` wrote.  Raises: SpecError where text is not the path of one node."""
    if not all(part.isascii() and part.isdigit() for part in text.split("/")):
        raise SpecError(text, 0, "wanted the path of one node: numbers joined by '/', such as 1/7")
    (path,) = _Reader(text).paths()
    return tuple(first for first, _ in path.levels)


def format_path(path: Path) -> str:
    return "/".join(map(str, path))


def fold(paths: Iterable[Path]) -> str:
    """The shortest text we know that selects exactly these nodes: `1-3,7,=1-2/1-19`; "" for none."""
    return _format(SpecPath(tuple((node, node) for node in path), exact=True) for path in paths)


class _Reader:
    """A recursive descent through one text; `position` is what comes next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def paths(self) -> tuple[SpecPath, ...]:
        paths = [self._path()]
        while self._take(","):
            paths.append(self._path())
        if self.position < len(self.text):
            raise self._unexpected("',', '/' or the end")
        return tuple(paths)

    def _path(self) -> SpecPath:
        exact = self._take("=")
        levels = [self._range()]
        while self._take("/"):
            levels.append(self._range())
        return _spec_path(tuple(levels), exact=exact)

    def _range(self) -> Range:
        if self._take("."):
            if self._peek() == "-":
                raise self._wrong("'.' is all children and cannot begin a range")
            return EVERY
        first = self._number()
        if not self._take("-"):
            return first, first
        if self._peek() == ".":
            raise self._wrong("'.' is all children and cannot end a range")
        start = self.position
        last = self._number()
        if last < first:
            raise SpecError(self.text, start, f"the range {first}-{last} ends before it begins")
        return first, last

    def _number(self) -> int:
        start = self.position
        # Not str.isdigit(): it takes "²" and the digits of other scripts.
        while "0" <= self._peek() <= "9":
            self.position += 1
        digits = self.text[start : self.position]
        if not digits:
            raise self._unexpected("a number or '.'")
        if len(digits) > MAX_DIGITS:
            raise SpecError(self.text, start, f"a number has at most {MAX_DIGITS} digits")
        if int(digits) == 0:
            raise SpecError(self.text, start, "there is no node 0: ids start at 1")
        return int(digits)

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _take(self, character: str) -> bool:
        taken = self._peek() == character
        self.position += taken
        return taken

    def _unexpected(self, wanted: str) -> SpecError:
        found = self._peek()
        if found.isspace():
            return self._wrong("spaces are not allowed")
        if found == "=":
            return self._wrong("'=' stands once, at the beginning of a path")
        return self._wrong(f"wanted {wanted}, not {repr(found) if found else 'the end'}")

    def _wrong(self, reason: str) -> SpecError:
        return SpecError(self.text, self.position, reason)


def _spec_path(levels: Box, *, exact: bool) -> SpecPath:
    """`=3` and `3` are the same nodes, and so the same value: nobody is on the way."""
    return SpecPath(levels, exact=exact and len(levels) > 1)


def _children(connected: Iterable[Path]) -> dict[Path, list[int]]:
    """The ids below each node that has any, ascending."""
    children: dict[Path, list[int]] = {}
    for path in connected:
        children.setdefault(path[:-1], []).append(path[-1])
    for ids in children.values():
        ids.sort()
    return children


def _descend(path: SpecPath, children: Mapping[Path, Sequence[int]]) -> Iterator[tuple[Path, Sequence[int]]]:
    """Each connected place on path's way, with those ids below it that path goes on to, ascending."""
    places: list[Path] = [()]
    for first, last in path.levels:
        found: list[Path] = []
        for place in places:
            ids = children.get(place, ())
            present = ids[bisect_left(ids, first) : bisect_right(ids, last)]
            found += [(*place, node) for node in present]
            yield place, present
        places = found


def _absent(path: SpecPath, children: Mapping[Path, Sequence[int]]) -> Iterator[SpecPath]:
    """What path names by number and cannot have, each with the rest of path below it."""
    for place, present in _descend(path, children):
        level, rest = path.levels[len(place)], path.levels[len(place) + 1 :]
        if level != EVERY:
            way = tuple((node, node) for node in place)
            for gap in _gaps(level, present):
                yield from _below(way, SpecPath((gap, *rest), path.exact))


def _below(way: Box, part: SpecPath) -> Iterator[SpecPath]:
    """part seen from the top, where the nodes on the way to it are there already and not asked for again."""
    if not way:
        yield _spec_path(part.levels, exact=part.exact)
        return
    for box in part.boxes():
        yield SpecPath(way + box, exact=True)


def _gaps(level: Range, present: Sequence[int]) -> Iterator[Range]:
    """The parts of a range that hold none of the ids in it, which ascend."""
    first, last = level
    for node in present:
        if first < node:
            yield first, node - 1
        first = node + 1
    if first <= last:
        yield first, last


def _without(part: SpecPath, excluded: Iterable[Box]) -> list[SpecPath]:
    """part less the excluded boxes; as it is where they do not touch it."""
    before = part.boxes()
    after = before
    for hole in excluded:
        after = [piece for box in after for piece in _cut(box, hole)]
    return [part] if after == before else [_spec_path(box, exact=True) for box in after]


def _cut(box: Box, hole: Box) -> list[Box]:
    """box less hole, in at most two pieces a level."""
    if len(box) != len(hole):
        return [box]
    common = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, hole, strict=True))
    if any(first > last for first, last in common):
        return [box]
    # What is left of "." beside 4 has no text but 1-3 and 5-9999999999, which would name those nodes.
    if any(level == EVERY != shared for level, shared in zip(box, common, strict=True)):
        return [box]
    pieces: list[Box] = []
    for depth, ((first, last), shared) in enumerate(zip(box, common, strict=True)):
        for side in ((first, shared[0] - 1), (shared[1] + 1, last)):
            if side[0] <= side[1]:
                pieces.append((*common[:depth], side, *box[depth + 1 :]))
    return pieces


def _format(parts: Iterable[SpecPath]) -> str:
    """The union of parts, those with the fewest levels first."""
    alike: dict[tuple[int, bool], list[Box]] = {}
    for part in parts:
        exact = part.exact and len(part.levels) > 1
        alike.setdefault((len(part.levels), exact), []).append(part.levels)
    return ",".join(str(SpecPath(box, exact)) for (_, exact), boxes in sorted(alike.items()) for box in _merge(boxes))


def _merge(boxes: list[Box]) -> list[Box]:
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


def _format_range(level: Range) -> str:
    first, last = level
    if level == EVERY:
        return "."
    return str(first) if first == last else f"{first}-{last}"
