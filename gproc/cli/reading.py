"""Reads a command's standard input in blocks that are worth their cost.

A block of any size passes the client, the master and each node on its way once, and costs each a few hundred
microseconds.  A pipe gives at most 64 KiB at once, and the socket of rsync as much: it writes the next 64 KiB when
these are read.
"""

from __future__ import annotations

import os
import select
from typing import Final

LARGE_BYTES: Final = 32 << 10
"""Who writes so much at once writes a lot: a person, or a program that waits for an answer, writes less."""

NEXT_MS: Final = 1
"""How long such a writer may take for its next piece."""


def read_more(handle: int, last_bytes: int, room_bytes: int) -> bytes:
    """What comes at once behind a piece of `last_bytes` that was just read; b"" if that was a small one.

    Raises: OSError.
    """
    if last_bytes < LARGE_BYTES:
        return b""
    pieces: list[bytes] = []
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    while last_bytes >= LARGE_BYTES and room_bytes > 0 and poll.poll(NEXT_MS):
        piece = os.read(handle, room_bytes)
        pieces.append(piece)
        last_bytes = len(piece)
        room_bytes -= last_bytes
    return b"".join(pieces)
