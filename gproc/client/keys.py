"""The keys with which a person leaves a job that goes on: Ctrl-P, then Ctrl-Q, as docker has them.  Pure."""

from __future__ import annotations

from typing import Final

FIRST: Final = b"\x10"
SECOND: Final = b"\x11"

HELD_S: Final = 1.0
"""Seconds in which the second key must follow the first: time for a slow hand.  A shell has its Ctrl-P after that, and
not only with the next key, which may never come."""


class DetachKeys:
    """Looks at what is typed.  The first key is held back until the next one comes, or for HELD_S.

    Times are those of time.monotonic().
    """

    def __init__(self) -> None:
        self._until_s: float | None = None

    def feed(self, typed: bytes, now_s: float) -> tuple[bytes, bool]:
        """What goes on to the job, and whether the keys were typed: what follows them is dropped."""
        data = (FIRST if self._until_s is not None else b"") + typed
        self._until_s = None
        found = data.find(FIRST + SECOND)
        if found >= 0:
            return data[:found], True
        if data.endswith(FIRST):
            self._until_s = now_s + HELD_S
            data = data[:-1]
        return data, False

    def wait_s(self, now_s: float) -> float | None:
        """How long the first key is still held back; None if it is not."""
        return None if self._until_s is None else max(0.0, self._until_s - now_s)

    def late(self, now_s: float) -> bytes:
        """The first key, if the second one has not come in time."""
        if self._until_s is None or now_s < self._until_s:
            return b""
        self._until_s = None
        return FIRST
