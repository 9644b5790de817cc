"""When a node whose parent runs, but has no way to the master, looks for one itself.  Pure: times are arguments.

A rack master that is cut off from the nodes above it still has its links to those below.  It tells them so, again and
again, and a child that reaches the master leaves it.  If the master itself is gone, no child reaches it, and racks stay
together: a node leaves its parent only when it has the connection to the master that it will use.
"""

from __future__ import annotations

from typing import Final

TELL_S: Final = 1.0
"""Seconds between two messages by which a node that is cut off tells the nodes below."""

FRESH_S: Final = 2.5
"""Seconds for which such a message of the parent counts: the parent may have a way again, and does not say so."""

FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 15.0
"""Seconds between two tries: each costs the master a handshake."""

CONFIRM_S: Final = 2.5
"""A master that was away for a while is reached by parent and child alike.  The parent dials every 2 s, so it is given
that time, and as much for each parent above it; but not at first, if it has just found out that the master does not
answer."""


class Detour:
    """One node's, from one grant to the next."""

    def __init__(self) -> None:
        self._told_s: float | None = None
        self._next_s = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._has_tried = False
        self._unanswered = False

    def told(self, now_s: float) -> bool:
        """The parent says that it is cut off.  Returns whether that is news."""
        is_news = not self.is_told(now_s)
        self._told_s = now_s
        return is_news

    def is_told(self, now_s: float) -> bool:
        return self._told_s is not None and now_s - self._told_s <= FRESH_S

    def is_cut_off(self, now_s: float) -> bool:
        """Whether this node is cut off, too: the master's machine does not answer it either."""
        return self._unanswered and self.is_told(now_s)

    def may_try(self, now_s: float, *, overdue: bool) -> bool:
        """Whether to dial the master now.  If so, this counts as a try.  overdue: half of a lease had no answer."""
        if not (overdue or self.is_told(now_s)) or now_s < self._next_s:
            return False
        self._next_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        return True

    def reached(self, depth: int, now_s: float) -> float:
        """The master was reached.  depth: of this node's place, so many nodes are above it.

        Returns for how many seconds the parent may still find a way, unless it says that it is cut off.
        """
        is_first, self._has_tried, self._unanswered = not self._has_tried, True, False
        return 0.0 if self.is_told(now_s) and is_first else CONFIRM_S * max(1, depth - 1)

    def failed(self, *, answered: bool) -> None:
        """The master was not reached.  answered: its machine was, so this node is not cut off."""
        self._has_tried, self._unanswered = True, not answered
