"""The nodes below one node, as it knows them.  Pure.

People name a node by its place; a message reaches it by its route.  `place_of` and `Tree.route_to` are the only two
functions that turn one into the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gproc.nodespec import Place
from gproc.wire.messages import Branch, NodeInfo, Route

RELAY_ONLY = -1


def place_of(route: Route) -> Place:
    """The place of a node that the master reaches by `route`: today each node hangs where its locale puts it."""
    return Place(tuple(route))


def below(child: int, route: Route) -> Route:
    """The route from here to a node that `child` reaches by `route`."""
    return Route((child, *route))


class Tree:
    """Connected nodes by route; a node is here only while all those above it are."""

    def __init__(self) -> None:
        self._nodes: dict[Route, NodeInfo] = {}
        self._by_name: dict[str, Route] = {}
        """The last node that arrived of each name: slaves of one machine share a name."""

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, route: object) -> bool:
        return route in self._nodes

    def __getitem__(self, route: Route) -> NodeInfo:
        return self._nodes[route]

    def arrive(self, route: Route, node: NodeInfo) -> None:
        self._nodes[route] = node
        self._by_name[node.name] = route

    def route_named(self, name: str) -> Route | None:
        """Where the node of this name was last seen; None if it is not here."""
        route = self._by_name.get(name)
        known = None if route is None else self._nodes.get(route)
        return route if known is not None and known.name == name else None

    def leave(self, route: Route) -> list[Route]:
        """Remove a node and all below it; what was removed, parents first."""
        gone = sorted(known for known in self._nodes if known[: len(route)] == route)
        for known in gone:
            node = self._nodes.pop(known)
            if self._by_name.get(node.name) == known:
                del self._by_name[node.name]
        return gone

    def routes(self) -> list[Route]:
        """Parents before children, siblings by number."""
        return sorted(self._nodes)

    def places(self) -> list[Place]:
        """The same nodes, by place: only the master's routes lead to places."""
        return [place_of(route) for route in self.routes()]

    def route_to(self, place: Place) -> Route:
        """By which links the node at `place` is reached."""
        return Route(tuple(place))

    def items(self) -> list[tuple[Route, NodeInfo]]:
        return sorted(self._nodes.items())


def branches(ranks: Mapping[Route, int]) -> dict[int, Branch]:
    """What each node of the first level is sent of a job: every hop gets the part of its own subtree and no more."""
    roots: dict[int, Branch] = {}
    made: dict[tuple[int, ...], Branch] = {}
    for route in sorted(ranks):
        for depth in range(1, len(route) + 1):
            here = route[:depth]
            if here in made:
                continue
            branch = Branch(ranks.get(Route(here), RELAY_ONLY), {})
            made[here] = branch
            above = roots if depth == 1 else made[here[:-1]].children
            above[here[-1]] = branch
    return roots


def number(places: Iterable[Place]) -> dict[Place, int]:
    """Ranks from 0, parents before children."""
    return {place: rank for rank, place in enumerate(sorted(places))}
