"""Which nodes: text to places in the tree, and back.  Pure.

    <nodes>   ::= <path> | <path> "," <nodes>
    <path>    ::= [ "=" ] <nodeset> { "/" <nodeset> }
    <nodeset> ::= "." | <number> | <number> "-" <number>

A spec is a union of boxes: one range of numbers for each level.  All that is done here is done on ranges, so
`1-1000000000` costs what `1` costs; only nodes that are really connected are ever counted one by one.

Specs come from users, and all clients wait while the master works on them: length, levels and work have bounds.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NewType

import msgspec

from gproc.boxes import EVERY, MAX_DIGITS, Box, Holes, Range, Work, gaps, merged, rest_of
from gproc.errors import SpecError

Path = tuple[int, ...]
"""Numbers from the top of a tree down to a node; they start at 1, and there is at least one."""

Place = NewType("Place", Path)
"""A node's path in its locale, by which people name it: its id below the master, its id below that node, and so on.
It never changes.  How the node is reached is another matter: `gproc.wire.messages.Route`."""

TEXT_BYTES_MAX: Final = 32 << 10
"""A fold of 2,500 nodes picked at random from 5,000 has 12 KB."""

LEVELS_MAX: Final = 16
"""A tree of 100,000 nodes has three or four."""

WORK_MAX: Final = 60_000
"""Levels and nodes that one question may look at, beside WORK_PER_NODE for each connected node: some 60 ms."""

WORK_PER_NODE: Final = 8

SHOWN_CHARACTERS: Final = 60
SHOWN_PATHS: Final = 20
"""How much of a spec that was refused stands in the message."""

_DIGITS: Final = re.compile("[0-9]*")
"""Not str.isdigit() or \\d: they take "²" and the digits of other scripts."""


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
        """The same nodes, level by level."""
        shallowest = len(self.levels) if self.exact else 1
        return [self.levels[:depth] for depth in range(shallowest, len(self.levels) + 1)]


class NodeSpec(msgspec.Struct, frozen=True):
    """The nodes that a person asked for; `str()` of it parses back to an equal value."""

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

    def names(self, path: Path) -> bool:
        """Whether this asks for the node by its number, and not only for all that are there."""
        return any(each.selects(path) and each.levels[len(path) - 1] != EVERY for each in self.paths)

    def select(self, connected: Iterable[Path], exclusion: NodeSpec | None = None) -> list[Path]:
        """The nodes of connected that are selected and not excluded, in their order.

        connected holds every node's parent too, as a tree does.  The work grows with what is found and not
        with connected times paths: specs made by `fold` can have a thousand paths.

        Raises: SpecError if it takes too much work.
        """
        nodes = list(connected)
        children = _children(nodes)
        selected = self._selected(children, len(nodes))
        if exclusion is not None:
            selected -= exclusion._selected(children, len(nodes))
        return [node for node in nodes if node in selected]

    def _selected(self, children: Mapping[Path, Sequence[int]], nodes: int) -> set[Path]:
        selected: set[Path] = set()
        work = _work(self, nodes)
        for path in dict.fromkeys(self.paths):
            for place, present in _descend(path, children, work):
                if not path.exact or len(place) == len(path.levels) - 1:
                    selected.update((*place, node) for node in present)
        return selected

    def missing(self, connected: Iterable[Path], exclusion: NodeSpec | None = None) -> str:
        """The part of this spec that is asked for by number and cannot be had, "" if there is none.

        connected holds every node's parent too, as a tree does.  "." names no node: if it stands for the children of a
        connected node, none of them is missing.  Below a missing node the rest of its path
        is missing whole, so that the answer, pasted into the next command, asks for what this one did not
        get and for nothing else.  Excluded nodes are not missed; a "." that is missing is given uncut, and
        wants the same exclusion again.

        Raises: SpecError if it takes too much work.
        """
        children = _children(connected)
        work = _work(self, len(children))
        paths = dict.fromkeys(self.paths)
        absent = list(dict.fromkeys(part for path in paths for part in _absent(path, children, work)))
        if exclusion is not None and absent:
            excluded = Holes(path.levels for path in exclusion.paths)
            absent = [rest for part in absent for rest in _without(part, excluded, work)]
        return _format(absent)


def format_path(path: Path) -> str:
    """A node's path as people write it: `1/7`.  `=1/7` selects this node alone."""
    return "/".join(map(str, path))


def file_name_of(path: Path) -> str:
    """The name of a node's file or directory beside those of others: `1.7` of node 1/7.

    It is not nested as the tree is: a file `7` of node 1 would be at the place of node 1/7's files.
    """
    return format_path(path).replace("/", ".")


def fold(paths: Iterable[Path]) -> str:
    """The shortest text we know that selects exactly these nodes: `1-3,7,=1-2/1-19`; "" for none."""
    return _format(SpecPath(tuple((node, node) for node in path), exact=True) for path in paths)


class _Reader:
    """A recursive descent through one text; `position` is what comes next."""

    def __init__(self, text: str) -> None:
        """Raises: SpecError for a text that is too long."""
        if len(text) > TEXT_BYTES_MAX:
            raise SpecError(text[:SHOWN_CHARACTERS], 0, f"more than {TEXT_BYTES_MAX} characters")
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
            if len(levels) == LEVELS_MAX:
                raise self._wrong(f"more than {LEVELS_MAX} levels")
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
        found = _DIGITS.match(self.text, start)
        assert found is not None
        digits, self.position = found[0], found.end()
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
    """`=3` and `3` are the same nodes, and so the same value: no node is on the way."""
    return SpecPath(levels, exact=exact and len(levels) > 1)


def _children(connected: Iterable[Path]) -> dict[Path, list[int]]:
    """The ids below each node that has any, ascending."""
    children: dict[Path, list[int]] = {}
    for path in connected:
        children.setdefault(path[:-1], []).append(path[-1])
    for ids in children.values():
        ids.sort()
    return children


def _work(spec: NodeSpec, nodes: int) -> Work:
    def refusal() -> SpecError:
        shown = ",".join(map(str, spec.paths[:SHOWN_PATHS]))[:SHOWN_CHARACTERS]
        return SpecError(shown, 0, "too many paths that overlap, or too many missing nodes: ask for fewer at once")

    return Work(WORK_MAX + WORK_PER_NODE * nodes, refusal)


def _descend(
    path: SpecPath, children: Mapping[Path, Sequence[int]], work: Work
) -> Iterator[tuple[Path, Sequence[int]]]:
    """Each connected place on path's way, with those ids below it that path goes on to, ascending."""
    places: list[Path] = [()]
    for first, last in path.levels:
        found: list[Path] = []
        for place in places:
            ids = children.get(place, ())
            present = ids[bisect_left(ids, first) : bisect_right(ids, last)]
            work.spend(1 + len(present))
            found += [(*place, node) for node in present]
            yield place, present
        places = found


def _absent(path: SpecPath, children: Mapping[Path, Sequence[int]], work: Work) -> Iterator[SpecPath]:
    """The nodes that path names by number and that are not connected, each with the rest of path below it."""
    for place, present in _descend(path, children, work):
        level, rest = path.levels[len(place)], path.levels[len(place) + 1 :]
        if level != EVERY:
            way = tuple((node, node) for node in place)
            for gap in gaps(level, present):
                work.spend(len(path.levels) * (len(path.levels) if place and not path.exact else 1))
                yield from _below(way, SpecPath((gap, *rest), path.exact))


def _below(way: Box, part: SpecPath) -> Iterator[SpecPath]:
    """part seen from the top.  The nodes on the way to it are connected, and are not asked for again."""
    if not way:
        yield _spec_path(part.levels, exact=part.exact)
        return
    for box in part.boxes():
        yield SpecPath(way + box, exact=True)


def _without(part: SpecPath, excluded: Holes, work: Work) -> list[SpecPath]:
    """part less the excluded boxes; as it is if they do not touch it."""
    pieces: list[Box] = []
    touched = False
    for box in part.boxes():
        holes = excluded.touching(box, work)
        touched = touched or bool(holes)
        pieces += rest_of(box, holes, work) if holes else [box]
    return [_spec_path(piece, exact=True) for piece in pieces] if touched else [part]


def _format(parts: Iterable[SpecPath]) -> str:
    """The union of parts, those with the fewest levels first."""
    alike: dict[tuple[int, bool], list[Box]] = {}
    for part in parts:
        exact = part.exact and len(part.levels) > 1
        alike.setdefault((len(part.levels), exact), []).append(part.levels)
    return ",".join(str(SpecPath(box, exact)) for (_, exact), boxes in sorted(alike.items()) for box in merged(boxes))


def _format_range(level: Range) -> str:
    first, last = level
    if level == EVERY:
        return "."
    return str(first) if first == last else f"{first}-{last}"
