"""Which place a node may have, by the name in its certificate.  Pure: a locale is asked by a function.

A certificate names a host.  If the locale places hosts by their names (kane, a TOML file, ...), the host has that place
and no other.  If it does not, a host has one place at a time, the one that it asks for first.  Several slaves may share
the certificate of their parent's machine, because a slave that has that key has the parent's too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from gproc.errors import GprocError, LocaleError
from gproc.locales import Locale, Options, Parent, Placement, Role
from gproc.nodespec import LEVELS_MAX, Place

NODES_BELOW_MAX: Final = 16_384
"""The most nodes below one child of the master.  A child that announces more is not believed."""

LEAST_BELOW: Final = 64
"""What a child of any node may announce."""


def most_below(level: int) -> int:
    """How many nodes a child of a node of this level may announce; the master's is 0.

    It is half of what the node itself may, so that one child does not take the room of all others.
    """
    return max(NODES_BELOW_MAX >> level, LEAST_BELOW)


def is_full(level: int, count: int) -> bool:
    """Whether the parent of a node of this level would drop it, with all below it, for more than `count` nodes."""
    return level > 0 and count + 1 >= most_below(level - 1)


class JoinRefused(GprocError):
    """The node may not join.  final: it need not ask again, because the answer will not change."""

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


class Belonging:
    """The rules of one parent.  own_name: in its certificate.  is_master: whether it is the tree's root."""

    def __init__(
        self, own_name: str, is_master: bool, locale: Callable[[str], Placement | None],
        groups: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """locale: where it places the host of that name; None if it does not say.  groups: its groups, as NODES."""
        self.groups = groups
        self._own_name = own_name
        self._is_master = is_master
        self._locale = locale

    def number_of(self, name: str) -> int | None:
        """The number that the locale gives this host below its parent; None if it does not say."""
        placement = self._locale(name)
        return None if placement is None else placement.id

    def place_of(self, name: str) -> Place | None:
        """The place that the locale gives this host; None if it does not say."""
        path: list[int] = []
        while len(path) < LEVELS_MAX:
            placement = self._locale(name)
            if placement is None or placement.id is None or placement.parent is None:
                return None
            path.append(placement.id)
            if placement.parent.is_master:
                return Place(tuple(reversed(path)))
            name = placement.parent.name or placement.parent.host
        return None

    def objection(self, name: str, number: int, children: Iterable[tuple[int, str]]) -> str:
        """Why the host `name` may not be child `number`; "" if it may.

        children: number and name of those that are here.
        """
        if name == self._own_name:
            return ""
        if why := self.misplaced(name, number, self._own_name, self._is_master):
            return why
        other = next((id for id, named in children if named == name and id != number), None)
        return "" if other is None else f"{name} is here already, as node {other}: a certificate has one place"

    def misplaced(self, name: str, number: int, parent: str, parent_is_master: bool) -> str:
        """Why the locale does not place the host `name` there; "" if it does, or does not say."""
        placement = self._locale(name)
        if placement is None or placement.id is None or placement.parent is None:
            return ""
        wanted = placement.parent
        below = parent_is_master if wanted.is_master else parent == (wanted.name or wanted.host)
        if placement.id == number and below:
            return ""
        return f"the locale places {name} as number {placement.id} below {_named(wanted)}"


def placed_by(locale: Locale, cmd_port: int) -> Callable[[str], Placement | None]:
    """Asks a locale about hosts, without the switches of a process."""

    def placed(name: str) -> Placement | None:
        try:
            return locale.place(Role.SLAVE, name, Options(cmd_port=cmd_port))
        except LocaleError:
            return None

    return placed


def _named(parent: Parent) -> str:
    return "the master" if parent.is_master else parent.name or parent.host
