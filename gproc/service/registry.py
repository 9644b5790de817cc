"""The nodes that the master knows: each one's place, and the route by which it is reached now.  Pure.

A node is one run of a slave, and its nonce tells it from every other run.  It has one place as long as it runs.  Its
route is None while no way leads to it.  `gproc.relay.adoption` says by which other ways it may be reached.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from gproc.nodespec import Place, fold, format_path
from gproc.relay.adoption import ADOPTED_FROM, may_move
from gproc.tree import RouteIndex
from gproc.trust.ticket import Ancestor
from gproc.trust.tls import is_loopback
from gproc.wire.messages import NodeInfo, Route

ON_THE_MOVE_S: Final = 15.0
"""Seconds after which a node that has lost its way, and has not come back, is probably not looking for another way."""

GONE_OF_HOST_MAX: Final = 20_000
"""The most runs of slaves of one host that are remembered although no way leads to them: a host could announce more
without end."""

FOLDED_MAX: Final = 2000
"""Characters: enough for half of the nodes of a rack of 500, picked at random."""


class Node:
    """lease_ends_s: when what runs on it has ended if it gets no other lease, by the master's CLOCK_BOOTTIME.
    granted_s: when it got its last grant, lost_s: when the last way to it was lost, by the same clock.
    run_key: with which it signs how programs end.
    """

    def __init__(self, info: NodeInfo, place: Place, route: Route | None) -> None:
        self.info = info
        self.run_key = b""
        self.place = place
        self.route = route
        self.lease_ends_s = 0.0
        self.granted_s = 0.0
        self.lost_s = 0.0

    @property
    def nonce(self) -> bytes:
        return self.info.nonce

    def __str__(self) -> str:
        return f"{format_path(self.place)} ({self.info.name})"


def folded(nodes: Iterable[Node]) -> str:
    """The nodes as a node specification, for a line that a person reads: it is cut."""
    text = fold(node.place for node in nodes)
    return text if len(text) <= FOLDED_MAX else text[: FOLDED_MAX - 3] + "..."


def those(count: int) -> str:
    """This many nodes, in a clause."""
    return "the node" if count == 1 else f"the {count} nodes"


def together(head: Node, nodes: Sequence[Node]) -> str:
    """`head` and nodes below it, or only these, in a clause for a person."""
    below = [node for node in nodes if node is not head]
    if not below:
        return str(head)
    if head in nodes:
        return f"{head} and {those(len(below))} below it, {folded(below)}"
    return f"{those(len(below))} below {head}, {folded(below)}"


class Registry:
    """All nodes that have a place in this session, by nonce, by place and by route."""

    def __init__(self) -> None:
        self._by_nonce: dict[bytes, Node] = {}
        self._by_place: dict[Place, Node] = {}
        self._by_route: dict[Route, Node] = {}
        self._index = RouteIndex()
        """The nodes of these routes."""
        self._gone: dict[str, OrderedDict[bytes, Node]] = {}
        """The nodes to which no way leads, by the name of their host: the longest lost first."""
        self._restored: set[bytes] = set()
        """The nodes of a former master that have not come to this one."""
        self._dialled = ""
        """Where the last child of the master from another machine has dialled it."""

    def __len__(self) -> int:
        """How many are connected."""
        return len(self._by_route)

    def known(self) -> list[Node]:
        """All nodes, those too to which no way leads now."""
        return list(self._by_nonce.values())

    def connected(self) -> Iterator[Node]:
        """Parents before children, siblings by number."""
        return iter(sorted(self._by_route.values(), key=lambda node: node.place))

    def places(self) -> list[Place]:
        """The places of the connected nodes, in the same order."""
        return sorted(node.place for node in self._by_route.values())

    def at(self, place: Place) -> Node | None:
        """The node of this place, if it is connected."""
        node = self._by_place.get(place)
        return None if node is None or node.route is None else node

    def reached_by(self, route: Route) -> Node | None:
        return self._by_route.get(route)

    def reached_through(self, route: Route) -> list[Node]:
        """The node of this route and all below it, parents first."""
        below = [self._by_route[known] for known in self._index.through(route)]
        return sorted(below, key=lambda node: node.place)

    def by_nonce(self, nonce: bytes) -> Node | None:
        return self._by_nonce.get(nonce)

    def objection(self, route: Route, info: NodeInfo) -> str:
        """Why a node cannot be reached by this route; "" if it can."""
        above = self._by_route.get(Route(route[:-1]))
        if above is None and len(route) > 1:
            return "the node above it is not there"
        known = self._by_nonce.get(info.nonce)
        if known is None and route[-1] >= ADOPTED_FROM:
            return "nobody knows whose child it is"
        above_it = Place(()) if above is None else above.place
        if known is not None and (known.info.name != info.name or not may_move(known.place, above_it)):
            return f"it is {known}, which is not below {format_path(above_it)}"
        place = Place((*above_it, route[-1])) if known is None else known.place
        there = self._by_route.get(route)
        if there is not None and there.place != place:
            # The master would not hear of the loss of the former node, and its jobs would never end.
            return f"{there} is reached by the same way"
        return ""

    def arrive(self, route: Route, info: NodeInfo) -> tuple[Node, Node | None]:
        """A node is reached by this route, which has no `objection`.

        Returns it, and the one that had its place until now, if that was another one.
        """
        node = self._by_nonce.get(info.nonce)
        if node is None:
            above = self._by_route.get(Route(route[:-1]))
            place = Place((*(() if above is None else above.place), route[-1]))
            node = self._by_nonce[info.nonce] = Node(info, place, route)
        else:
            self._drop_route(node)
            node.info, node.route = info, route
        self._by_route[route] = node
        self._index.add(route)
        self._is_there(node)
        self._restored.discard(node.nonce)
        if len(route) == 1 and not _is_loopback(info.dials):
            self._dialled = info.dials
        former = self._by_place.get(node.place)
        self._by_place[node.place] = node
        if former is None or former is node:
            return node, None
        self._drop_route(former)
        self._is_there(former)
        self._by_nonce.pop(former.nonce, None)
        return node, former

    def restore(self, info: NodeInfo, place: Place, key: bytes, lease_ends_s: float, now_s: float) -> Node:
        """A node that a master knew which has crashed.  No way leads to it yet.  now_s: CLOCK_BOOTTIME."""
        node = self._by_nonce[info.nonce] = self._by_place[place] = Node(info, place, None)
        node.run_key, node.lease_ends_s, node.lost_s = key, lease_ends_s, now_s
        self._gone.setdefault(info.name, OrderedDict())[info.nonce] = node
        self._restored.add(node.nonce)
        return node

    def awaited(self, above: Place, now_s: float) -> set[int]:
        """The numbers below a place of nodes that a former master knew, and that may still come to this one."""
        awaited = (self._by_nonce.get(nonce) for nonce in self._restored)
        return {
            node.place[-1]
            for node in awaited
            if node is not None and node.place[:-1] == above and node.lease_ends_s > now_s
        }

    def lose(self, node: Node, now_s: float) -> None:
        """No way leads to it now.  now_s: CLOCK_BOOTTIME."""
        node.lost_s = now_s
        self._drop_route(node)
        self._gone.setdefault(node.info.name, OrderedDict())[node.nonce] = node

    def too_many_gone(self, host: str, now_s: float) -> list[Node]:
        """The nodes of a host to forget, because others of it were lost since, and what ran on them has ended."""
        gone = self._gone.get(host, OrderedDict())
        surplus = islice(gone.values(), max(0, len(gone) - GONE_OF_HOST_MAX))
        return [node for node in surplus if node.lease_ends_s < now_s]

    def _is_there(self, node: Node) -> None:
        """The node is back, or is no node of the tree any more."""
        if (gone := self._gone.get(node.info.name)) is not None:
            gone.pop(node.nonce, None)
            if not gone:
                del self._gone[node.info.name]

    def _drop_route(self, node: Node) -> None:
        if node.route is not None and self._by_route.get(node.route) is node:
            del self._by_route[node.route]
            self._index.remove(node.route)
        node.route = None

    def forget(self, node: Node) -> None:
        """It has ended."""
        self._drop_route(node)
        self._is_there(node)
        self._by_nonce.pop(node.nonce, None)
        if self._by_place.get(node.place) is node:
            del self._by_place[node.place]

    def on_the_move(self, now_s: float) -> list[Node]:
        """The nodes that could be reached until just now, and may come back.  now_s: as of `lose`."""
        nodes = self._by_nonce.values()
        return [node for node in nodes if node.route is None and now_s - node.lost_s < ON_THE_MOVE_S]

    def home_is_there(self, node: Node) -> bool:
        """Whether the node that is its parent by its place is connected; the master is."""
        return len(node.place) == 1 or self.at(Place(node.place[:-1])) is not None

    def ancestors(self, node: Node) -> tuple[Ancestor, ...]:
        """The nodes that it may dial if its parent is gone: those above its parent, the nearest first, the master
        last."""
        if len(node.place) == 1:
            return ()
        above = (self.at(Place(node.place[:depth])) for depth in range(len(node.place) - 2, 0, -1))
        found = [Ancestor(each.info.name, each.info.address) for each in above if each is not None]
        master = self._master_address(node)
        return (*found, Ancestor("", master)) if master else tuple(found)

    def _master_address(self, node: Node) -> str:
        """Where the master's own child above this node dials it; or another child, if that means only its machine."""
        top = self._by_place.get(Place(node.place[:1]))
        dials = "" if top is None else top.info.dials
        return self._dialled or dials if _is_loopback(dials) else dials


def with_parents(places: Iterable[Place]) -> list[Place]:
    """These places and all above them, in order: those above may be missing while other nodes stand in for them."""
    found = set(places)
    for place in list(found):
        found.update(Place(place[:depth]) for depth in range(1, len(place)))
    return sorted(found)


def _is_loopback(address: str) -> bool:
    return not address or is_loopback(address.rpartition(":")[0])
