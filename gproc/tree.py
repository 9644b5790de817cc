"""The nodes below one node, as it knows them.  Pure.

People name a node by its place; a message reaches it by its route.  The master's `service.registry` knows both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from gproc.nodespec import Place
from gproc.wire.branch import Branch
from gproc.wire.loads import Load
from gproc.wire.messages import NodeInfo, Route

RELAY_ONLY = -1


def below(child: int, route: Route) -> Route:
    """The route from here to a node that `child` reaches by `route`."""
    return Route((child, *route))


def from_here(loads: Load, child: int) -> Load:
    """What `child` says of the nodes below it, with routes that begin here."""
    return Load(
        loads.serial, tuple((below(child, route), load) for route, load in loads.loads),
        tuple((below(child, route), memory) for route, memory in loads.memory),
    )  # fmt: skip


class RouteIndex:
    """Routes, and which of them lead through another one: that is asked for each message of a child that says so."""

    def __init__(self) -> None:
        self._known: set[Route] = set()
        self._next: dict[Route, set[Route]] = {}
        """For each route, the routes that are one step longer and are known, or lead to a known one."""

    def add(self, route: Route) -> None:
        self._known.add(route)
        while route:
            above = Route(route[:-1])
            if route in (steps := self._next.setdefault(above, set())):
                return
            steps.add(route)
            route = above

    def remove(self, route: Route) -> None:
        self._known.discard(route)
        while route and route not in self._known and route not in self._next:
            above = Route(route[:-1])
            steps = self._next.get(above, set())
            steps.discard(route)
            if steps:
                return
            self._next.pop(above, None)
            route = above

    def through(self, route: Route) -> list[Route]:
        """This route and those that lead through it, sorted."""
        found, look = [], [route]
        while look:
            here = look.pop()
            if here in self._known:
                found.append(here)
            look += self._next.get(here, ())
        return sorted(found)


class Tree:
    """Connected nodes by route; a node is here only while all those above it are."""

    def __init__(self) -> None:
        self._nodes: dict[Route, NodeInfo] = {}
        self._index = RouteIndex()
        self._counts: Counter[int] = Counter()
        self._by_name: dict[str, Route] = {}
        """The last node that arrived of each name: slaves of one machine share a name."""

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, route: object) -> bool:
        return route in self._nodes

    def __getitem__(self, route: Route) -> NodeInfo:
        return self._nodes[route]

    def arrive(self, route: Route, node: NodeInfo) -> None:
        self._counts[route[0]] += route not in self._nodes
        self._nodes[route] = node
        self._index.add(route)
        self._by_name[node.name] = route

    def route_named(self, name: str) -> Route | None:
        """Where the node of this name was last seen; None if it is not here."""
        route = self._by_name.get(name)
        known = None if route is None else self._nodes.get(route)
        return route if known is not None and known.name == name else None

    def leave(self, route: Route) -> list[Route]:
        """Remove a node and all below it; what was removed, parents first."""
        gone = self._index.through(route)
        for known in gone:
            self.forget(known)
        return gone

    def forget(self, route: Route) -> None:
        """Remove a node, and not those below it: it may be reached on another way now."""
        node = self._nodes.pop(route, None)
        self._index.remove(route)
        self._counts[route[0]] -= node is not None
        if not self._counts[route[0]]:
            del self._counts[route[0]]
        if node is not None and self._by_name.get(node.name) == route:
            del self._by_name[node.name]

    def count(self, child: int) -> int:
        """How many nodes are reached by way of a child of this node, itself included."""
        return self._counts[child]

    def routes(self) -> list[Route]:
        """Parents before children, siblings by number."""
        return sorted(self._nodes)

    def items(self) -> list[tuple[Route, NodeInfo]]:
        return sorted(self._nodes.items())


def branches(ranks: Mapping[Route, int], said: Mapping[int, tuple[int, ...]] | None = None) -> dict[int, Branch]:
    """What each node of the first level is sent of a job: every hop gets the part of its own subtree and no more.

    said: by rank, how much output the master has; None: the job is new.
    """
    roots: dict[int, Branch] = {}
    made: dict[tuple[int, ...], Branch] = {}
    for route in sorted(ranks):
        for depth in range(1, len(route) + 1):
            here = route[:depth]
            if here in made:
                continue
            rank = ranks.get(Route(here), RELAY_ONLY)
            branch = Branch(rank, {}, (said or {}).get(rank, (0, 0)))
            made[here] = branch
            above = roots if depth == 1 else made[here[:-1]].children
            above[here[-1]] = branch
    return roots


def number(places: Iterable[Place]) -> dict[Place, int]:
    """Ranks from 0, parents before children."""
    return {place: rank for rank, place in enumerate(sorted(places))}
