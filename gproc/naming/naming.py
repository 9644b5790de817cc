"""How nodes are called in what is printed: by their places, or by their hosts if the user named them so.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from gproc.boxes import EVERY
from gproc.errors import UsageError
from gproc.nodespec import NodeSpec, Path, SpecPath, file_name_of, fold, format_path

_OF_PATHS: Final = frozenset("0123456789.-/,=")


_SAID_OF_NODES: Final = re.compile(r"\b(drained|not connected): (=?[1-9][0-9]*(?:[-/,=]+[0-9.]+)*)(?=[ ;:]|$)")
"""As `service.choosing` words it."""


def is_plain(text: str) -> bool:
    """Whether NODES has only characters of paths, so that the master need not be asked what it means."""
    return _OF_PATHS.issuperset(text)


class Naming:
    """Nodes are called by their places.  unknown: the hosts that were named and are not known."""

    unknown: tuple[str, ...] = ()

    def name(self, place: Path) -> str:
        return format_path(place)

    def file_name(self, place: Path) -> str:
        """For a node's file or directory beside those of others."""
        return file_name_of(place)

    def fold(self, places: Iterable[Path]) -> str:
        """A text that can be used as NODES."""
        return fold(places)

    def refold(self, nodes: str) -> str:
        """The same for nodes that the master has folded."""
        return nodes

    def missing(self, nodes: str) -> str:
        """The same for the nodes that were named and are not connected.  nodes: those that the master knows of,
        folded."""
        return nodes

    @property
    def for_records(self) -> str:
        """What `gproc ps` shows as the nodes of a job; "" if it is their places."""
        return ""


PLACES: Final = Naming()


class MeantNodes(msgspec.Struct, frozen=True):
    """What NODES and --exclude mean, as paths of places.  naming: how these nodes are called.

    nobodys: unknown hosts among those to be left out.
    """

    nodes: str
    exclude: str = ""
    naming: Naming = PLACES
    nobodys: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises: UsageError if unknown hosts were named, for a verb that has no nodes to miss."""
        if self.naming.unknown:
            raise UsageError(nobody_is(self.naming.missing("")))


ALL_NODES: Final = MeantNodes("")
"""All nodes of a job."""


def retold(text: str, naming: Naming) -> str:
    """What the master says of nodes, with their names instead of their places."""
    return _SAID_OF_NODES.sub(lambda match: f"{match[1]}: {naming.refold(match[2])}", text)


def nobody_is(hosts: str) -> str:
    return f"no node is called {hosts}: gproc i shows which there are"


class HostNames(Naming):
    """Nodes are called by their hosts.  A node whose host name is not known here is called by its place."""

    def __init__(
        self, hosts: Mapping[Path, str], unknown: tuple[str, ...] = (), gone: frozenset[str] = frozenset()
    ) -> None:
        """hosts: by place; two places never have one host.  gone: those of them that are not connected."""
        self.unknown = unknown
        self._hosts = hosts
        self._gone = gone

    def name(self, place: Path) -> str:
        return self._hosts.get(place) or format_path(place)

    def file_name(self, place: Path) -> str:
        return self._hosts.get(place) or file_name_of(place)

    def fold(self, places: Iterable[Path]) -> str:
        from gproc.naming.hosts import fold_hosts

        named: list[str] = []
        others: list[Path] = []
        for place in places:
            host = self._hosts.get(place)
            if host is None:
                others.append(place)
            else:
                named.append(host)
        return ",".join(text for text in (fold_hosts(named), fold(others)) if text)

    def refold(self, nodes: str) -> str:
        if not nodes:
            return ""
        known: list[Path] = []
        others: list[str] = []
        for part in NodeSpec.parse(nodes).paths:
            found = list(_places_of(part, len(self._hosts)))
            if found and all(place in self._hosts for place in found):
                known += found
            else:
                others.append(str(part))
        return ",".join(text for text in (self.fold(known), *others) if text)

    def missing(self, nodes: str) -> str:
        from gproc.naming.hosts import fold_hosts

        return ",".join(text for text in (self.refold(nodes), fold_hosts(self.unknown)) if text)

    @property
    def for_records(self) -> str:
        return self.fold(place for place, host in self._hosts.items() if host not in self._gone)


def _places_of(part: SpecPath, most: int) -> Iterator[Path]:
    """The places that a path names; none if they are more than `most`, or if it names others on the way too."""
    count = 1
    for first, last in part.levels:
        count *= last - first + 1
    if count > most or EVERY in part.levels or not (part.exact or len(part.levels) == 1):
        return
    places: list[Path] = [()]
    for first, last in part.levels:
        places = [(*place, number) for place in places for number in range(first, last + 1)]
    yield from places
