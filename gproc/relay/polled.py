"""What a child may answer to a poll: loads that were not asked for are not passed on.  Pure."""

from __future__ import annotations

from typing import Final

SLACK: Final = 64
"""Loads beyond those that were asked for: nodes may have joined since, or be some that the master does not take in."""


class Polled:
    """One child's.  A load becomes four times as long on its way up, so unasked ones would fill the links above."""

    def __init__(self) -> None:
        self._serial = -1
        self._left = 0

    def ask(self, serial: int, nodes: int) -> None:
        """The child was asked for its load and those of the nodes below it: this many in all."""
        self._serial, self._left = serial, 2 * nodes + SLACK

    def may_answer(self, serial: int, count: int) -> bool:
        """Whether so many loads were asked for, and not said yet."""
        if serial != self._serial or count > self._left:
            return False
        self._left -= count
        return True
