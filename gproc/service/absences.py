"""The nodes that were in the tree and are not now, although they were not stopped.  Pure: each time is an argument.

A slave that was ended on purpose, by `gproc stop` or a signal, says so, and is not missed.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Final

from gproc.nodespec import Place, fold
from gproc.service.registry import Node
from gproc.shown import shown_text
from gproc.wire.messages import AbsentNode

ABSENT_MAX: Final = 20_000
"""The most nodes that are remembered; the node that went first is forgotten first."""

GROUPS_MAX: Final = 20
"""The most reasons that one client is told; the nodes of all other reasons make one more group."""


class Absences:
    """The nodes that are gone, by place: a place has one node, as in `Registry`.  The last one went last."""

    def __init__(self) -> None:
        self._by_place: dict[Place, tuple[Node, float, str]] = {}

    def note(self, node: Node, now_s: float, reason: str) -> None:
        """A node cannot be reached any more.  now_s: Unix time."""
        self.end(node.place)
        self._by_place[node.place] = node, now_s, shown_text(reason)
        if len(self._by_place) > ABSENT_MAX:
            del self._by_place[next(iter(self._by_place))]

    def end(self, place: Place) -> None:
        """A node of this place is there, or no node is expected there any more."""
        self._by_place.pop(place, None)

    def places(self) -> list[Place]:
        return sorted(self._by_place)

    def since(self, past_s: float) -> list[Place]:
        """The nodes that went after this time."""
        latest = takewhile(lambda each: each[1][1] > past_s, reversed(self._by_place.items()))
        return [place for place, _ in latest]

    def is_absent_since(self, place: Place, past_s: float) -> bool:
        """Whether a node of this place went after this time, and is not back."""
        known = self._by_place.get(place)
        return known is not None and known[1] > past_s

    def rows(self, boottime_s: float) -> tuple[AbsentNode, ...]:
        """All of them, in order.  boottime_s: of the clock of their leases."""
        rows = []
        for place in self.places():
            node, since_s, reason = self._by_place[place]
            rows.append(AbsentNode(place, node.info, since_s, reason, boottime_s < node.lease_ends_s))
        return tuple(rows)

    def groups(self, places: Iterable[Place]) -> tuple[tuple[str, float, str], ...]:
        """The absent nodes of these places, by reason: the nodes, folded; when the first of them went; the reason."""
        by_reason: dict[str, list[tuple[Place, float]]] = {}
        for place in places:
            if (known := self._by_place.get(place)) is not None:
                _, since_s, reason = known
                by_reason.setdefault(reason, []).append((place, since_s))
        groups = sorted(by_reason.items(), key=lambda group: -len(group[1]))
        if len(groups) > GROUPS_MAX:
            rest = [each for _, members in groups[GROUPS_MAX:] for each in members]
            groups = [*groups[:GROUPS_MAX], ("for various reasons", rest)]
        return tuple(
            (fold(place for place, _ in members), min(since_s for _, since_s in members), reason)
            for reason, members in groups
        )
