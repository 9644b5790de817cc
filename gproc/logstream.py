"""The stream of a log: a reader that has stopped must not stop the process that logs.

`gproc m 2>&1 | less` fills its pipe while a person reads a page.  A write would then block the event
loop, and other nodes would take the process for frozen.
"""

from __future__ import annotations

import errno
import os
import select
import time
from os import write
from typing import Final

WAIT_S: Final = 1.0
"""The most seconds that the process waits for its log's reader, at a time and in ten seconds: other nodes must not miss
it."""

EARNED: Final = 0.1
"""The part of each second that may be spent on waiting."""

PIECE_BYTES: Final = 4096
"""PIPE_BUF: a pipe that is ready takes so much without blocking, pipe(7)."""


def open_log(path: str) -> int:
    """A descriptor for `LogStream` that appends to a file.  A FIFO is not waited for: its reader finds the lines later.

    Raises: OSError.
    """
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        return os.open(path, flags | os.O_WRONLY, 0o666)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    return os.open(path, flags | os.O_RDWR, 0o666)  # a FIFO that nobody reads yet: we hold its other end too, fifo(7)


class LogStream:
    """A stream for `logging.StreamHandler`.  What a stopped reader does not take is lost, and counted.

    descriptor: where it writes; it stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._wait_s = WAIT_S
        self._earned_until_s = time.monotonic()
        self._lost = 0

    def write(self, text: str) -> None:
        """Write whole lines, or lose them.  Raises: OSError, as of a full disk or a reader that is gone."""
        if self._lost:
            if not self._is_ready():
                self._lost += 1
                return
            note = f"{self._lost} lines of the log are lost here: nobody read them\n"
            self._lost = 0
            write(self._descriptor, note.encode())
        data = memoryview(text.encode(errors="backslashreplace"))
        while data:
            if not self._is_ready():
                self._lost += 1
                return
            data = data[write(self._descriptor, data[:PIECE_BYTES]) :]

    def flush(self) -> None:
        """Nothing is kept back."""

    def _is_ready(self) -> bool:
        if self._poll.poll(0):
            return True
        now_s = time.monotonic()
        self._wait_s = min(WAIT_S, self._wait_s + EARNED * (now_s - self._earned_until_s))
        is_ready = bool(self._poll.poll(1000 * self._wait_s)) if not self._lost else False
        self._earned_until_s = time.monotonic()
        self._wait_s = max(0.0, self._wait_s - (self._earned_until_s - now_s))
        return is_ready
