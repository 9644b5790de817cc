"""The keys with which a person leaves a job that goes on: Ctrl-P, then Ctrl-Q, as docker has them.  Pure."""

from __future__ import annotations

from typing import Final

FIRST: Final = b"\x10"
SECOND: Final = b"\x11"


class DetachKeys:
    """Looks at what is typed.  The first key is held back until the next one comes."""

    def __init__(self) -> None:
        self._held = False

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What goes on to the job, and whether the keys were typed: what follows them is dropped."""
        data = (FIRST if self._held else b"") + typed
        self._held = False
        found = data.find(FIRST + SECOND)
        if found >= 0:
            return data[:found], True
        if data.endswith(FIRST):
            self._held = True
            data = data[:-1]
        return data, False
