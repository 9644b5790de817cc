"""Which processes a message goes to.  Pure.

| sender | to_pid | goes to |
|---|---|---|
| any | > 0 | that child, if it has a link |
| master | 0 or -1 | all children that this master knows |
| master | -PID | all of them but PID |
| child | <= 0 | all masters that know this child |

A master knows the children that began while it, or its place, was there.  When it ends, its children are not told to
the one that is started after it: it could not know what they have been through.
"""

from __future__ import annotations

import msgspec

from gproc.adapters.gfork.frames import ALL


class Destinations(msgspec.Struct, frozen=True):
    """masters: their places, from 0.  children: their pids."""

    masters: tuple[int, ...] = ()
    children: tuple[int, ...] = ()


class Routing:
    """Masters by place, children by pid."""

    def __init__(self) -> None:
        self._known: dict[int, dict[int, None]] = {}  # sets that keep their order

    def add_master(self, place: int) -> None:
        self._known[place] = {}

    def remove_master(self, place: int) -> tuple[int, ...]:
        """Returns: the children that no master is left for."""
        return self._orphans(self._known.pop(place, {}))

    def master_ended(self, place: int) -> tuple[int, ...]:
        """The master of a place ended; another may come.  Returns: the children that no master is left for."""
        orphans = self._known[place]
        self._known[place] = {}
        return self._orphans(orphans)

    def _orphans(self, pids: dict[int, None]) -> tuple[int, ...]:
        return tuple(pid for pid in pids if not any(pid in known for known in self._known.values()))

    def children_of(self, place: int) -> tuple[int, ...]:
        return tuple(self._known[place])

    def child_opened(self, pid: int) -> tuple[int, ...]:
        """Returns: the masters to tell."""
        for known in self._known.values():
            known[pid] = None
        return tuple(self._known)

    def child_closed(self, pid: int) -> tuple[int, ...]:
        """Returns: the masters to tell."""
        knowing = self._masters_of(pid)
        for place in knowing:
            del self._known[place][pid]
        return knowing

    def from_child(self, pid: int, to_pid: int) -> Destinations:
        if to_pid > 0:
            return self._one(to_pid)
        return Destinations(masters=self._masters_of(pid))

    def from_master(self, place: int, to_pid: int) -> Destinations:
        if to_pid > 0:
            return self._one(to_pid)
        left_out = -to_pid if to_pid < ALL else None
        return Destinations(children=tuple(pid for pid in self._known[place] if pid != left_out))

    def _one(self, pid: int) -> Destinations:
        return Destinations(children=(pid,) if self._masters_of(pid) else ())

    def _masters_of(self, pid: int) -> tuple[int, ...]:
        return tuple(place for place, known in self._known.items() if pid in known)
