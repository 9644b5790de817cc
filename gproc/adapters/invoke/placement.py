"""Which nodes run a job's processes.  Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from heapq import heapreplace
from typing import Final

import gproc
from gproc.nodespec import NodeSpec, Path, fold

LOCAL: Final = frozenset({"localhost", "localhost.localdomain", "127.0.0.1", "::1"})
"""Names of the machine of the client and of the master."""


class NoSuchNode(ValueError):
    """No node of the tree is meant.  The text is one clause for the client."""


def connected_nodes(tree: gproc.TreeInfo) -> list[gproc.NodeStatus]:
    """The master also describes nodes that it has lost: nothing can be started there."""
    return [node for node in tree.nodes if node.state not in ("unreachable", "down")]


def nodes_meant(
    hostname: str, port: int, tree: gproc.TreeInfo, addresses: Collection[str] = ()
) -> list[gproc.NodeStatus]:
    """The nodes that a hostname means; several slaves may run on one host.

    hostname: a place ("1/7"), a name with or without its domain, or an address.  port: of the slave, where its children
    dial; 0: any.  addresses: of the host, as the resolver knows them.
    Raises: NoSuchNode.
    """
    connected = connected_nodes(tree)
    at_place = [node for node in connected if node.node == hostname]
    names, hosts = {hostname}, set(addresses)
    if hostname.lower() in LOCAL:
        names.add(tree.master)
        hosts |= LOCAL
    found = at_place or [node for node in connected if any(_is_called(node, name, hosts) for name in names)]
    if not found:
        raise NoSuchNode(f"no node of the tree is called {hostname}: it has {_some_of(tree)}")
    if port:
        found = [node for node in found if node.address.rpartition(":")[2] == str(port)]
        if not found:
            raise NoSuchNode(f"no slave on {hostname} has the port {port}: leave the port out, or set it to 0")
    return found


def nodes_selected(text: str, tree: gproc.TreeInfo) -> list[gproc.NodeStatus]:
    """The nodes that a node specification selects.  Raises: NoSuchNode if there are none; SpecError."""
    by_path = {path_of(node.node): node for node in connected_nodes(tree)}
    found = [by_path[path] for path in NodeSpec.parse(text).select(by_path)]
    if not found:
        raise NoSuchNode(f"no node is connected of those that gproc_nodes names: {text}")
    return found


def least_busy(nodes: Sequence[gproc.NodeStatus], busy: Mapping[str, int]) -> list[gproc.NodeStatus]:
    """The nodes, those with the fewest processes first.  busy: how many processes each node has from us."""
    return sorted(nodes, key=lambda node: (busy.get(node.node, 0), node.jobs))


def spread(
    count: int, nodes: Sequence[gproc.NodeStatus], busy: Mapping[str, int], host_count: int | None = None
) -> Counter[str]:
    """How many of `count` processes run on each node: the next one is always for the node that has the fewest.

    busy: how many processes of other jobs each node has from us.  host_count: the most nodes to use.
    """
    chosen = least_busy(nodes, busy)[:host_count]
    load = [(busy.get(node.node, 0), index, node.node) for index, node in enumerate(chosen)]
    placed: Counter[str] = Counter()
    for _ in range(count):
        processes, index, least = load[0]
        heapreplace(load, (processes + 1, index, least))
        placed[least] += 1
    return placed


def rounds(placed: Mapping[str, int]) -> list[str]:
    """Node specifications of gproc jobs that together run so many processes: a job runs one on each of its nodes."""
    found = []
    left = dict(placed)
    while left:
        found.append(fold(path_of(node) for node in left))
        left = {node: count - 1 for node, count in left.items() if count > 1}
    return found


def path_of(node: str) -> Path:
    return tuple(int(number) for number in node.split("/"))


def _is_called(node: gproc.NodeStatus, name: str, addresses: Collection[str]) -> bool:
    host, wanted = node.host.lower(), name.lower()
    if host == wanted or node.address.rpartition(":")[0].strip("[]") in {name, *addresses}:
        return True
    is_short = "." not in host or "." not in wanted
    return is_short and host.partition(".")[0] == wanted.partition(".")[0]


def _some_of(tree: gproc.TreeInfo) -> str:
    connected = connected_nodes(tree)
    named = [f"{node.node} ({node.host})" for node in connected[:4]]
    if len(connected) > 4:
        named.append("...")
    return ", ".join(named) or "no nodes at all"
