"""The sizes of credit windows: the bytes that a writer may send before its reader answers.  Pure.

Each stream of each job has a window of its own.
"""

from __future__ import annotations

from typing import Final

from gproc.wire.frames import MAX_STDIO_BYTES

MAX_WINDOW_BYTES: Final = 1 << 20
"""Enough for a gigabyte per second at a round trip of 1 ms."""

MIN_WINDOW_BYTES: Final = 64 << 10
"""A pipe's capacity, pipe(7): a smaller window would split what a program writes at once."""

HOP_BYTES: Final = 16 << 20
"""The most that one stream of one job may keep waiting at one hop; its writers there share it."""

QUANTA: Final = 4
"""A window holds this many full frames, and a grant returns one frame's worth of credit.  So a writer that waits for a
grant still has room for other frames, and one small message is enough for many small frames."""


def window_for(writers: int, upstream_bytes: int) -> int:
    """The window of each of a relay's writers, if the relay's own window upstream is `upstream_bytes`.

    It is never larger than that: the relay must be able to send on each frame that it accepted.
    """
    return min(MAX_WINDOW_BYTES, upstream_bytes, max(MIN_WINDOW_BYTES, HOP_BYTES // max(1, writers)))


def quantum(window_bytes: int) -> int:
    """Bytes of data in one full frame, and of credit in one grant."""
    return max(1, min(MAX_STDIO_BYTES, window_bytes // QUANTA))


def input_block_bytes(most_writers: int, upstream_bytes: int) -> int:
    """Data in one block of standard input, if no node of the job's tree has more than `most_writers` below it."""
    return quantum(window_for(most_writers, upstream_bytes))
