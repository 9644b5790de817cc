"""Decides which connection may come in, which waits for its turn, and which is sent away.  Pure.

Each connection has a key: a user at the master's Unix socket, a host at a command port.  No key can take all places,
and a key that fills its own share keeps no other waiting: the turns go round the keys.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Container
from enum import Enum
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K")
V = TypeVar("V")


class Places(msgspec.Struct, frozen=True):
    """How many connections may be in at a time: `each` of one key, `all` together; and how many more may wait."""

    each: int
    all: int
    waiting_each: int = 0
    waiting_all: int = 0


class Verdict(Enum):
    """What happens with a connection that has just come."""

    IN = "in"
    WAITS = "waits"
    SENT_AWAY = "sent away"


class Turns(Generic[K, V]):
    """The connections that are in, counted by key, and those that wait, in the order of their turns."""

    def __init__(self, places: Places, trusted: Container[K] = ()) -> None:
        """trusted: keys for which `each` does not hold, only `all`."""
        self.places = places
        self._trusted = trusted
        self._in: Counter[K] = Counter()
        self._all = 0
        self._waiting: OrderedDict[K, deque[V]] = OrderedDict()
        self._waiting_all = 0

    @property
    def any_wait(self) -> bool:
        return bool(self._waiting)

    def is_pressed(self, key: K) -> bool:
        """Whether another connection waits for such a place as one of this key has."""
        return key in self._waiting or (self.any_wait and self._all >= self.places.all)

    def arrive(self, key: K, visitor: V) -> Verdict:
        """A connection has come.  If it waits, `leave` will name it."""
        if self._has_place(key):
            self._enter(key)
            return Verdict.IN
        queue = self._waiting.get(key, ())
        has_share = key in self._trusted or len(queue) < self.places.waiting_each
        if self._waiting_all >= self.places.waiting_all or not has_share:
            return Verdict.SENT_AWAY
        self._waiting.setdefault(key, deque()).append(visitor)
        self._waiting_all += 1
        return Verdict.WAITS

    def leave(self, key: K) -> tuple[K, V] | None:
        """A connection that was in has gone.  Returns the one that comes in for it, with its key."""
        self._all -= 1
        self._in[key] -= 1
        if not self._in[key]:
            del self._in[key]
        for following in self._waiting:
            if self._has_place(following):
                return following, self._next_of(following)
        return None

    def empty(self) -> list[V]:
        """Let nothing wait any more.  Returns the connections that did."""
        waiting = [visitor for queue in self._waiting.values() for visitor in queue]
        self._waiting.clear()
        self._waiting_all = 0
        return waiting

    def _has_place(self, key: K) -> bool:
        return self._all < self.places.all and (key in self._trusted or self._in[key] < self.places.each)

    def _enter(self, key: K) -> None:
        self._in[key] += 1
        self._all += 1

    def _next_of(self, key: K) -> V:
        queue = self._waiting[key]
        visitor = queue.popleft()
        self._waiting_all -= 1
        if queue:
            self._waiting.move_to_end(key)
        else:
            del self._waiting[key]
        self._enter(key)
        return visitor
