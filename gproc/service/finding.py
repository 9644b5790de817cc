"""Nodes by the names of their hosts, and the groups of the locale and of the tree.  Pure.

A host is known if it is in the tree, was there and was not stopped, or if the locale says its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from gproc.naming.hosts import fold_hosts, is_host
from gproc.nodespec import Place, fold
from gproc.service.absences import Absences
from gproc.service.registry import Registry
from gproc.wire.job_messages import FindNodes, FoundNodes

_RACK: Final = re.compile(r"rack([1-9][0-9]{0,9})")


class NamedTree(Protocol):
    """What this needs of the master."""

    registry: Registry
    absences: Absences


class NodeFinder:
    """placed: the place that the locale gives a host; None if it does not say.  groups: those of the locale."""

    def __init__(
        self, tree: NamedTree, placed: Callable[[str], Place | None], groups: Mapping[str, str]
    ) -> None:
        self._tree = tree
        self._placed = placed
        self._groups = groups

    def find(self, question: FindNodes) -> FoundNodes:
        here: dict[str, list[Place]] = {}
        for node in self._tree.registry.connected():
            here.setdefault(node.info.name, []).append(node.place)
        away = {row.node.name: Place(row.place) for row in self._tree.absences.rows(0.0)}
        whole = _by_first_label(here), _by_first_label(away)
        places: list[tuple[Place, ...]] = []
        gone: list[int] = []
        for index, host in enumerate(question.hosts):
            found = tuple(here.get(host) or here.get(whole[0].get(host, "")) or ())
            if not found:
                gone.append(index)
                place = away.get(host) or away.get(whole[1].get(host, "")) or self._placed(host)
                found = () if place is None else (place,)
            places.append(found)
        racks = self._racks() if question.groups else {}
        known = {name: self._group(name, racks) for name in set(question.groups)}
        groups = tuple(known[name] for name in question.groups)
        return FoundNodes(question.serial, tuple(places), tuple(gone), groups)

    def _racks(self) -> dict[int, list[tuple[str, Place]]]:
        """All hosts with their places, by the first number of these."""
        found: dict[int, list[tuple[str, Place]]] = {}
        for node in self._tree.registry.connected():
            found.setdefault(node.place[0], []).append((node.info.name, node.place))
        for row in self._tree.absences.rows(0.0):
            found.setdefault(row.place[0], []).append((row.node.name, Place(row.place)))
        return found

    def _group(self, name: str, racks: Mapping[int, list[tuple[str, Place]]]) -> str:
        """What a group stands for: "" if nobody knows it."""
        if (own := self._groups.get(name)) is not None:
            return own
        if (rack := _RACK.fullmatch(name)) is None:
            return ""
        members = racks.get(int(rack[1]), [])
        hosts = {host for host, _ in members}
        if len(hosts) == len(members) and all(map(is_host, hosts)):
            return fold_hosts(sorted(hosts))
        return fold(place for _, place in members)


def _by_first_label(names: Iterable[str]) -> dict[str, str]:
    """kn7 of kn7.example.org, if there is no other such name."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.partition(".")[0], []).append(name)
    return {label: whole[0] for label, whole in found.items() if len(whole) == 1}
