"""How much was read of the files that are packed: a line on a terminal, if that takes long."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Final, Self

from gproc.cli.style import can_redraw, line_of
from gproc.content import reading
from gproc.shown import bytes_text

AFTER_S: Final = 2.0
"""Files that are read sooner need no line."""

EVERY_S: Final = 0.5


class ReadingLine:
    """Shown while the block is running, by an alarm: a thread would cost each command the import of `threading`.

    Only for the main thread, as all that sets signals.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        """quiet: a program reads our messages, or the terminal is lent to one."""
        self._shows = can_redraw(sys.stderr) and not quiet
        self._is_there = False
        self._former = signal.getsignal(signal.SIGALRM)

    def __enter__(self) -> Self:
        if self._shows:
            signal.signal(signal.SIGALRM, self._draw)
            signal.setitimer(signal.ITIMER_REAL, AFTER_S, EVERY_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._shows:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._former)
            self.clear()

    def clear(self) -> None:
        """For a message that is about to be written there."""
        if self._is_there:
            self._is_there = False
            _write("")

    def _draw(self, _signum: int, _frame: object) -> None:
        self._is_there = True
        _write(f"reading files: {bytes_text(reading.so_far.size_bytes)}")


def _write(text: str) -> None:
    with suppress(OSError):  # not by sys.stderr, as `draw_line` does it: the alarm may come while that writes
        os.write(2, line_of(text).encode())
