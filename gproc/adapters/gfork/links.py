"""One process's end of its link, in gfork: two pipes, read and written when the system is ready for it."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from gproc.adapters.gfork.frames import BrokenLink, Frame, LinkReader
from gproc.adapters.gfork.outbox import Outbox

_READ_BYTES: Final = 64 << 10  # what a pipe holds: pipe(7)


class ProcessEnds:
    """The two descriptors that a master or a child gets.  Close them as soon as it has them."""

    def __init__(self, read: int, write: int) -> None:
        self.read = read
        self.write = write

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


class ProcessLink:
    """on_frames: called if `inbox` has frames.  on_room: if senders wait and the outbox has room again.

    on_end: called once, when the process has closed its end or broke the protocol; with the reason, None for closed.
    None of them is called after `close`.
    """

    def __init__(
        self,
        on_frames: Callable[[ProcessLink], None],
        on_room: Callable[[ProcessLink], None],
        on_end: Callable[[ProcessLink, str | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_frames, self._on_room, self._on_end = on_frames, on_room, on_end
        self._reader = LinkReader()
        self._is_reading = self._is_writing = self._is_at_end = False
        self._read_fd = self._write_fd = -1
        self.pid = 0
        """The pid of the process; 0 as long as there is none."""
        self.inbox: deque[Frame] = deque()
        self.outbox = Outbox()
        self.senders: set[ProcessLink] = set()
        """The links that gfork does not read until this one's outbox has room."""
        self.moved_at_s = self._loop.time()
        """When the process last took something."""

    def open(self) -> ProcessEnds:
        """Make the pipes.  What was pushed before goes first.  Raises: OSError if there are no more descriptors."""
        from_process, its_write = os.pipe2(os.O_CLOEXEC)
        try:
            its_read, to_process = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(from_process)
            os.close(its_write)
            raise
        os.set_blocking(from_process, False)
        os.set_blocking(to_process, False)
        self._read_fd, self._write_fd = from_process, to_process
        return ProcessEnds(its_read, its_write)

    @property
    def is_open(self) -> bool:
        return self._write_fd >= 0

    def start(self, pid: int) -> None:
        self.pid = pid
        self._reader = LinkReader()
        self._is_at_end = False
        self.resume()
        self._write()

    def close(self) -> None:
        self.pause()
        self._stop_writing()
        for fd in (self._read_fd, self._write_fd):
            if fd >= 0:
                os.close(fd)
        self._read_fd = self._write_fd = -1
        self.pid = 0
        self.inbox.clear()
        self.outbox.clear()
        self.moved_at_s = self._loop.time()

    def pause(self) -> None:
        """Read no more until `resume`."""
        if self._is_reading:
            self._loop.remove_reader(self._read_fd)
            self._is_reading = False

    def resume(self) -> None:
        if not self._is_reading and not self._is_at_end and self._read_fd >= 0:
            self._loop.add_reader(self._read_fd, self.read)
            self._is_reading = True

    def push(self, message: bytes, about: int = 0) -> None:
        if not self.outbox:
            self.moved_at_s = self._loop.time()
        self.outbox.push(message, about)
        if self.is_open and not self._is_writing:
            self._write()

    def deliver(self) -> None:
        """Call on_frames again, after its receivers had no room."""
        if self.is_open:
            self._on_frames(self)

    def read(self) -> bool:
        """Read once.  Returns: whether there was something, and there may be more."""
        if self._is_at_end:
            return False
        try:
            data = os.read(self._read_fd, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._end("it ended inside a message" if self._reader.is_inside else None)
            return False
        try:
            self.inbox += self._reader.feed(data)
        except BrokenLink as error:
            self._end(str(error))
            return False
        if self.inbox:
            self._on_frames(self)
        return True

    def _end(self, reason: str | None) -> None:
        self.pause()
        self._is_at_end = True
        self._on_end(self, reason)

    def _write(self) -> None:
        while waiting := self.outbox.next_bytes():
            try:
                count = os.write(self._write_fd, waiting)
            except BlockingIOError:
                break
            except BrokenPipeError:  # its end is closed; on_end tells when its writing end is closed too
                self.outbox.clear()
                break
            self.outbox.wrote(count)
            self.moved_at_s = self._loop.time()
        if self.outbox and not self._is_writing:
            self._loop.add_writer(self._write_fd, self._write)
            self._is_writing = True
        elif not self.outbox:
            self._stop_writing()
        if self.senders and self.outbox.has_room:
            self._on_room(self)

    def _stop_writing(self) -> None:
        if self._is_writing:
            self._loop.remove_writer(self._write_fd)
            self._is_writing = False
