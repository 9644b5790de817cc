"""The three pipes between a Ninf-G client and its Invoke Server, on an event loop.

Descriptors 0, 1 and 2 are the client's.  `take_over` moves them away and puts the log, or nothing, in their place, so
that a message of Python or of a library cannot become a notify.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple

READ_BYTES: Final = 64 << 10
"""A pipe's default capacity, pipe(7)."""


class ClientPipes(NamedTuple):
    """Descriptors."""

    requests: int
    replies: int
    notifies: int


def take_over(log: int) -> ClientPipes:
    """Take the descriptors 0, 1 and 2.  What is written to 1 and 2 afterwards goes to `log`; 0 is empty."""
    pipes = ClientPipes(*(os.dup(number) for number in (0, 1, 2)))
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nothing, 0)
    os.close(nothing)
    for number in (1, 2):
        os.dup2(log, number)
    return pipes


class PipeReader:
    """Reads a pipe, a socket, a terminal or a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._wake = asyncio.Event()
        self._is_closed = False

    def close(self) -> None:
        """End the reading, as if the pipe had ended."""
        self._is_closed = True
        self._wake.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """What comes, until the end."""
        while True:
            await self._readable()
            if self._is_closed:
                return
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except OSError:  # a socket or a terminal whose other end is gone
                return
            if not data:
                return
            yield data

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._descriptor, self._wake.set)
        except PermissionError:  # a file, which can always be read: epoll_ctl(2)
            return
        await self._wake.wait()
        loop.remove_reader(self._descriptor)
        self._wake.clear()


class PipeWriter:
    """Writes to a pipe, a socket, a terminal or a file.  `write` never waits; `drained` waits for the reader."""

    def __init__(self, descriptor: int, broken: Callable[[], None]) -> None:
        """broken: is called once, as soon as the other end cannot read any more."""
        self._descriptor = descriptor
        self._broken = broken
        self._is_broken = False
        self._waiting = bytearray()
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop = asyncio.get_running_loop()
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):  # a terminal is shared with others, who want it to block
            os.set_blocking(descriptor, False)
        if stat.S_ISFIFO(kind):
            self._loop.add_reader(descriptor, self._hung_up)

    def write(self, data: bytes) -> None:
        if self._is_broken:
            return
        self._waiting += data
        self._flush()

    async def drained(self) -> None:
        """Wait until everything is written, or the other end does not read any more."""
        await self._empty.wait()

    def _flush(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: os.write(self._descriptor, self._waiting)]
        except BlockingIOError:
            if self._empty.is_set():
                self._empty.clear()
                self._loop.add_writer(self._descriptor, self._flush)
            return
        except OSError:
            self._break()
            return
        self._relax()

    def _hung_up(self) -> None:
        """The write end of a pipe is ready for reading only if its read end is closed: pipe(7)."""
        self._loop.remove_reader(self._descriptor)
        self._break()

    def _break(self) -> None:
        if not self._is_broken:
            self._is_broken = True
            self._waiting.clear()
            self._relax()
            self._broken()

    def _relax(self) -> None:
        if not self._empty.is_set():
            self._loop.remove_writer(self._descriptor)
            self._empty.set()
