"""The sizes of credit windows: how much a writer may send before its reader answers.  Pure.

A reader grants its writer so many bytes for each stream of each job.
"""

from __future__ import annotations

from typing import Final

from gproc.wire.frames import MAX_STDIO_BYTES

MAX_WINDOW_BYTES: Final = 1 << 20
"""A gigabyte per second at a round trip of 1 ms."""

MIN_WINDOW_BYTES: Final = 64 << 10
"""A pipe's capacity, pipe(7): less would cut what a program writes at once."""

HOP_BYTES: Final = 16 << 20
"""What one stream of one job may keep waiting at one hop, shared by those who write to it."""

QUANTA: Final = 4
"""A frame is at most this part of a window, and so much credit is returned at once: so that a writer who waits for the
last grant still has room for a frame, and one small message is enough for many data frames."""


def window_for(writers: int, above_bytes: int) -> int:
    """The window of each of so many writers, below a reader who gave `above_bytes`.

    It is never more than the one above: a frame that was let in must fit out.
    """
    return min(MAX_WINDOW_BYTES, above_bytes, max(MIN_WINDOW_BYTES, HOP_BYTES // max(1, writers)))


def quantum(window_bytes: int) -> int:
    """Of data in one frame, and of credit in one grant."""
    return max(1, min(MAX_STDIO_BYTES, window_bytes // QUANTA))
