"""A bound on what one neighbour causes: a number at once, and then one more each time that a while has passed.
Pure."""

from __future__ import annotations


class Allowance:
    """A bucket that fills up again.  most: at once.  refill_s: seconds until one more.  now_s: of an even clock."""

    def __init__(self, most: int, refill_s: float, now_s: float) -> None:
        self._most = most
        self._refill_s = refill_s
        self._left = float(most)
        self._at_s = now_s

    def holds_one(self, now_s: float) -> bool:
        self._left = min(self._most, self._left + (now_s - self._at_s) / self._refill_s)
        self._at_s = now_s
        return self._left >= 1

    def take(self) -> None:
        self._left -= 1

    def take_one(self, now_s: float) -> bool:
        """Take one, if it holds one.  Returns whether it did."""
        if not self.holds_one(now_s):
            return False
        self.take()
        return True
