"""The near ends of a program's pipes, on the event loop, under credit."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from gproc.wire.credit import quantum

PIPE_BYTES: Final = 64 << 10
"""Capacity of a pipe as the kernel makes it: pipe(7)."""


class OutputPipe:
    """Reads a program's output as long as there is credit; `deliver` gets b"" once, at its end."""

    def __init__(self, handle: int, window_bytes: int, deliver: Callable[[bytes], None]) -> None:
        self._handle = handle
        self._credit = window_bytes
        self._frame_bytes = quantum(window_bytes)
        self._widened = False
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        os.set_blocking(handle, False)
        self._loop.add_reader(handle, self._readable)

    def credit(self, size: int) -> None:
        if self._handle >= 0 and self._credit <= 0:
            self._loop.add_reader(self._handle, self._readable)
        self._credit += size

    def close(self) -> None:
        if self._handle >= 0:
            self._loop.remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1

    def _readable(self) -> None:
        try:
            data = os.read(self._handle, min(self._credit, self._frame_bytes))
        except BlockingIOError:
            return
        except OSError as error:
            # pty(7): of a terminal, when the last who held its other end has closed it.
            if error.errno != errno.EIO:
                raise
            data = b""
        if len(data) >= PIPE_BYTES and not self._widened:
            self._widen()
        if data:
            self._credit -= len(data)
            if self._credit <= 0:
                self._loop.remove_reader(self._handle)
        else:
            self.close()
        self._deliver(data)

    def _widen(self) -> None:
        """It is a program with much to say: a larger pipe halves what each megabyte costs."""
        self._widened = True
        # A user may have 64 MiB of such pipes, pipe(7); beyond that it stays as it is.
        with contextlib.suppress(PermissionError):
            if fcntl.fcntl(self._handle, fcntl.F_GETPIPE_SZ) < self._frame_bytes:
                fcntl.fcntl(self._handle, fcntl.F_SETPIPE_SZ, self._frame_bytes)


class InputPipe:
    """Writes a program's standard input; `consumed` is told what it took, or what it will never take."""

    def __init__(self, handle: int, consumed: Callable[[int], None]) -> None:
        self._handle = handle
        self._consumed = consumed
        self._queue: deque[bytes] = deque()
        self._waiting = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(handle, False)

    def write(self, *pieces: bytes) -> None:
        """In this order, before whatever `consumed` may bring in; b"": the end."""
        if self._handle < 0:
            self._consumed(sum(map(len, pieces)))
            return
        self._queue.extend(pieces)
        if not self._waiting:
            self._writable()

    def close(self) -> None:
        """The program reads no more; what waits counts as consumed, so that nobody waits for it."""
        if self._handle < 0:
            return
        self._rest()
        os.close(self._handle)
        self._handle = -1
        waiting = sum(len(data) for data in self._queue)
        self._queue.clear()
        if waiting:
            self._consumed(waiting)

    def _writable(self) -> None:
        while self._queue:
            data = self._queue[0]
            if not data:
                self.close()
                return
            try:
                done = os.write(self._handle, data)
            except BlockingIOError:
                self._wait()
                return
            except OSError:  # EPIPE: it closed its end, which is its right
                self.close()
                return
            if done < len(data):
                self._queue[0] = data[done:]
            else:
                self._queue.popleft()
            self._consumed(done)
        self._rest()

    def _wait(self) -> None:
        if not self._waiting:
            self._loop.add_writer(self._handle, self._writable)
            self._waiting = True

    def _rest(self) -> None:
        if self._waiting:
            self._loop.remove_writer(self._handle)
            self._waiting = False


def make_pipe(*, reader_is_ours: bool) -> tuple[int, int]:
    """(our end, the program's end)."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return (reader, writer) if reader_is_ours else (writer, reader)


def open_null() -> int:
    return os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def close_all(handles: list[int]) -> None:
    for handle in handles:
        with contextlib.suppress(OSError):
            os.close(handle)
