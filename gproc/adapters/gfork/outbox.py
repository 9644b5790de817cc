"""What waits to be written to one process.  Pure.

An outbox is full from FULL_BYTES on; then gfork reads nothing more from the processes that send to it.  So it holds at
most
FULL_BYTES and one message of the largest size.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gproc.adapters.gfork.frames import HEADER_BYTES

FULL_BYTES: Final = 256 << 10
ROOM_BYTES: Final = 64 << 10
"""At this size, senders are read again: one pipe's content, so that the receiver never waits for them."""


class Outbox:
    def __init__(self) -> None:
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._written = 0  # bytes of the first message
        self._bytes = 0

    def __len__(self) -> int:
        """Bytes that are not written."""
        return self._bytes - self._written

    @property
    def is_full(self) -> bool:
        return len(self) >= FULL_BYTES

    @property
    def has_room(self) -> bool:
        return len(self) <= ROOM_BYTES

    def push(self, message: bytes, about: int = 0) -> None:
        """about: the pid of the child that this message comes from or tells of, for `withdraw`."""
        self._waiting.append((message, about))
        self._bytes += len(message)

    def withdraw(self, pid: int) -> bool:
        """Take back the message that a child began, if it waits and nothing else about that child does.

        So a master that does not read for long is owed messages for the children that live, and for no others.
        Returns whether it was taken back.
        """
        places = [place for place, (_, about) in enumerate(self._waiting) if about == pid]
        if len(places) != 1 or not self._is_beginning(places[0]):
            return False
        self._bytes -= len(self._waiting[places[0]][0])
        del self._waiting[places[0]]
        return True

    def _is_beginning(self, place: int) -> bool:
        message, _ = self._waiting[place]
        return len(message) == HEADER_BYTES and not (place == 0 and self._written)

    def next_bytes(self) -> memoryview:
        """What to write next: the rest of the first message, or nothing."""
        return memoryview(self._waiting[0][0])[self._written :] if self._waiting else memoryview(b"")

    def wrote(self, count: int) -> None:
        """count: how many of `next_bytes` the system took."""
        self._written += count
        if self._waiting and self._written == len(self._waiting[0][0]):
            self._bytes -= self._written
            self._written = 0
            self._waiting.popleft()

    def clear(self) -> None:
        self._waiting.clear()
        self._written = self._bytes = 0
