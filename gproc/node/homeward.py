"""When a node that hangs below another parent may try to go back to its own.  Pure: each time is an argument.

A parent may be there for the master, and out of reach for its child.  So the pause between two tries grows.
"""

from __future__ import annotations

from typing import Final

FIRST_PAUSE_S: Final = 5.0
"""Seconds: children do not go to and fro faster than this if their parent dies again and again."""

LONGEST_PAUSE_S: Final = 600.0


class Homeward:
    def __init__(self) -> None:
        self._next_s = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._tried = False

    def arrived(self, at_home: bool, now_s: float) -> None:
        """The node has a parent.  at_home: it is its own."""
        if at_home:
            self._pause_s = FIRST_PAUSE_S
        elif self._tried:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._tried = False
        self._next_s = now_s + self._pause_s

    def may_try(self, now_s: float) -> bool:
        """Whether it may go back now.  If so, this counts as a try."""
        self._tried = now_s >= self._next_s
        return self._tried
