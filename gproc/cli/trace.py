"""Says on stderr what a command does, step by step: for `-debug`."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

from gproc.shown import shown_text

STEPS: Final = 1
"""-debug level from which a command names its steps: what was packed, what the master answered, how each node ended."""

DETAILS: Final = 3
"""-debug level from which it names each part of a step too: each file that is packed, each piece of output."""

_STDERR: Final = 2


class Trace:
    """Says what happens, if the command line asked for it.  Each line has the seconds since the command began."""

    def __init__(self, debug: int) -> None:
        self._level = debug
        self._began_s = time.monotonic()

    @property
    def is_on(self) -> bool:
        return self._level >= STEPS

    @property
    def has_details(self) -> bool:
        return self._level >= DETAILS

    def step(self, text: str) -> None:
        if self.is_on:
            self._say(text)

    def detail(self, text: str) -> None:
        if self.has_details:
            self._say(text)

    def _say(self, text: str) -> None:
        line = f"gproc: {time.monotonic() - self._began_s:.3f} s: {shown_text(text)}\n"
        # Not through sys.stderr: a signal's handler writes lines too, and a buffered stream cannot be entered twice.
        with contextlib.suppress(OSError):
            os.write(_STDERR, line.encode(errors="backslashreplace"))


def bundle_text(digest: bytes, size_bytes: int) -> str:
    """How a bundle is named in a trace; the logs of master and slaves have the same digits."""
    return f"bundle {digest.hex()[:16]}, {size_bytes} bytes"
