"""Where each host stands in the tree.  Rules.

With a locale the locale says it.  Without one the first `fanout` hosts are the master's children, and each further host
becomes a child of the one of them that has fewest, then of those below: no node has more than `fanout` children, and a
host that is added later moves no place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gproc.addresses import is_address
from gproc.errors import UsageError
from gproc.locales import Locale, Options, Role
from gproc.nodespec import Path


class Standing(msgspec.Struct, frozen=True):
    """One host in the tree.

    host: as ssh is told.  name: in its certificate.  parent: the parent's name; "" for the master.
    address: by the locale; "" if it is the one at which ssh reached the host.
    """

    host: str
    name: str
    place: Path
    parent: str = ""
    address: str = ""


def planned(hosts: Sequence[str], fanout: int, known: Sequence[Standing] = ()) -> list[Standing]:
    """Standings of these hosts.  known: those of before, in their order, which stay.

    Raises: UsageError if a host is two hosts by its name.
    """
    by_host = {standing.host: standing for standing in known}
    names = {standing.place: standing.name for standing in known}
    number = 0
    for host in dict.fromkeys(hosts):
        if host in by_host:
            continue
        # A place is free again when its host was removed; one whose parent's place is free comes later.
        while (place := place_of(number, fanout)) in names or (len(place) > 1 and place[:-1] not in names):
            number += 1
        names[place] = name_of(host)
        by_host[host] = Standing(host, name_of(host), place, names[place[:-1]] if len(place) > 1 else "")
    _check_names(by_host.values())
    return [by_host[host] for host in dict.fromkeys(hosts)]


def place_of(number: int, fanout: int) -> Path:
    """The place of the host with that number, from 0: level by level, and within a level evenly.

    >>> [place_of(n, 2) for n in range(7)]
    [(1,), (2,), (1, 1), (2, 1), (1, 2), (2, 2), (1, 1, 1)]
    """
    level, size = 1, fanout
    while number >= size:
        number -= size
        level += 1
        size *= fanout
    path = []
    width = size // fanout  # how many hosts the level above has
    while level > 1:
        path.append(number // width + 1)
        number %= width
        width //= fanout
        level -= 1
    return (number + 1, *reversed(path))


def by_locale(locale: Locale, numbers: Iterable[int], cmd_port: int) -> list[Standing]:
    """Standings of the locale's nodes with these numbers.  Raises: LocaleError."""
    placed: dict[str, tuple[Path, str]] = {}

    def place(name: str) -> tuple[Path, str]:
        if name not in placed:
            placement = locale.place(Role.SLAVE, name, Options(cmd_port=cmd_port))
            parent = placement.parent
            if parent is None or placement.id is None:
                raise UsageError(f"the locale gives {name} no place of its own, so gproc start cannot use it")
            above = "" if parent.is_master else parent.name or parent.host
            placed[name] = ((*(place(above)[0] if above else ()), placement.id), above)
        return placed[name]

    standings = []
    for number in numbers:
        node = locale.node(number)
        path, parent = place(node.name)
        standings.append(Standing(node.name, node.name, path, parent, node.address))
    return standings


def of_level(standings: Iterable[Standing], level: int) -> list[Standing]:
    return [standing for standing in standings if level in (0, len(standing.place))]


def name_of(host: str) -> str:
    """The host's name without its user and port, as a certificate has it, which has no colons.

    >>> name_of("root@node7:22"), name_of("fd00::7"), name_of("::1")
    ('node7', 'fd00--7', '0--1')
    """
    name = host.rpartition("@")[2]
    if ":" in name and is_address(name):
        dashes = name.replace(":", "-")
        return f"0{dashes}" if dashes.startswith("-") else dashes
    return name.partition(":")[0]


def parents_first(standings: Iterable[Standing]) -> list[Standing]:
    return sorted(standings, key=lambda standing: (len(standing.place), standing.place))


def _check_names(standings: Iterable[Standing]) -> None:
    seen: dict[str, str] = {}
    for standing in standings:
        other = seen.setdefault(standing.name, standing.host)
        if other != standing.host:
            raise UsageError(f"{other} and {standing.host} are one node by their name: give each node once")


def children_of(standings: Mapping[str, Standing], name: str) -> list[str]:
    return [each.name for each in standings.values() if each.parent == name]
