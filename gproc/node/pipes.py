"""The near ends of a program's pipes, on the event loop, under credit."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable

from gproc.descriptors import PIPE_BYTES, widen
from gproc.wire.credit import quantum


class OutputPipe:
    """Reads a program's output while there is credit.  At the end of the output, `deliver` gets b"" once."""

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
            # pty(7): a terminal gives EIO when the last process has closed the other end.
            if error.errno != errno.EIO:
                raise
            data = b""
        if len(data) >= PIPE_BYTES and not self._widened:
            self._widened = True
            widen(self._handle, self._frame_bytes)
        if data:
            self._credit -= len(data)
            if self._credit <= 0:
                self._loop.remove_reader(self._handle)
        else:
            self.close()
        self._deliver(data)


class InputPipe:
    """Writes a program's standard input.  `consumed` gets the number of bytes that the program took or never will."""

    def __init__(self, handle: int, consumed: Callable[[int], None]) -> None:
        self._handle = handle
        self._consumed = consumed
        self._queue: deque[bytes | memoryview] = deque()
        self._waiting = False
        self._widened = False
        self._loop = asyncio.get_running_loop()
        os.set_blocking(handle, False)

    def write(self, *pieces: bytes) -> None:
        """Write these bytes after those that wait, and before any that `consumed` leads to; b"" is the end."""
        if self._handle < 0:
            self._consumed(sum(map(len, pieces)))
            return
        self._queue.extend(pieces)
        if not self._waiting:
            self._writable()

    def close(self) -> None:
        """The program reads no more.  What waits counts as consumed, so that the sender gets its credit back."""
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
            except OSError:  # EPIPE: the program closed its end, as it may
                self.close()
                return
            if done < len(data):
                self._queue[0] = memoryview(data)[done:]
                if len(data) > PIPE_BYTES and not self._widened:
                    self._widened = True
                    widen(self._handle, len(data))
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
