"""For programs that gfork runs: `Master` and `Child` are their ends of the links, on asyncio."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import msgspec

from gproc.adapters.gfork.frames import (
    ALL,
    CLOSED,
    CONTACT_VARIABLE,
    DATA,
    INSTANCES_VARIABLE,
    MAX_BODY,
    OPENED,
    READ_VARIABLE,
    WRITE_VARIABLE,
    Frame,
    LinkReader,
)
from gproc.errors import GprocError, LinkLost

_READ_BYTES: Final = 64 << 10


class NotLinked(GprocError):
    """This process was not started by gfork, or by a gfork without a master."""

    def __init__(self) -> None:
        super().__init__(f"{READ_VARIABLE} and {WRITE_VARIABLE} are not set: is this program started by gfork?")


class ChildOpened(msgspec.Struct, frozen=True):
    """A connection began; pid is the process that serves it."""

    pid: int


class ChildClosed(msgspec.Struct, frozen=True):
    """The process of a connection ended.  Nothing more comes from it."""

    pid: int


class ChildSent(msgspec.Struct, frozen=True):
    """A child sent something to its masters."""

    pid: int
    data: bytes


class MasterEnded(msgspec.Struct, frozen=True):
    """A master ended.  If it was the only one, this is the last event."""

    pid: int


class PeerSent(msgspec.Struct, frozen=True):
    """A master, or another child, sent something to this child."""

    pid: int
    data: bytes


class _Pipes:
    """The two pipes of a link.  Waits for the system in reads and writes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        try:
            self._read_fd, self._write_fd = int(environ[READ_VARIABLE]), int(environ[WRITE_VARIABLE])
            for fd in (self._read_fd, self._write_fd):
                os.set_inheritable(fd, False)  # what this program starts must not hold the link
                os.set_blocking(fd, False)
        except (KeyError, ValueError, OSError):
            raise NotLinked from None
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()

    async def read(self) -> bytes:
        """Empty: the link ended."""
        while True:
            with suppress(BlockingIOError):
                return os.read(self._read_fd, _READ_BYTES)
            await self._ready(self._loop.add_reader, self._loop.remove_reader, self._read_fd)

    async def write(self, data: bytes) -> None:
        """Raises: LinkLost if the link ended."""
        rest = memoryview(data)
        async with self._turn:
            while rest:
                try:
                    rest = rest[os.write(self._write_fd, rest) :]
                except BlockingIOError:
                    await self._ready(self._loop.add_writer, self._loop.remove_writer, self._write_fd)
                except BrokenPipeError:
                    raise LinkLost("gfork ended this link") from None

    async def _ready(
        self, add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], bool], fd: int
    ) -> None:
        ready = asyncio.Event()
        add(fd, ready.set)
        try:
            await ready.wait()
        finally:
            remove(fd)

    def close(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)


class _Peer:
    """What masters and children have in common.  environ: where the link's variables are, by default the process's."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Raises: NotLinked."""
        self._pipes = _Pipes(environ)
        self._reader = LinkReader()
        self._frames: deque[Frame] = deque()
        self.contact = environ.get(CONTACT_VARIABLE, "")
        """HOST:PORT at which gfork listens."""
        self.instances = int(environ.get(INSTANCES_VARIABLE, "0"))
        """How many connections are served at once."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipes.close()

    async def _receive(self) -> Frame | None:
        while not self._frames:
            data = await self._pipes.read()
            if not data:
                return None
            self._frames += self._reader.feed(data)
        return self._frames.popleft()

    async def _send(self, data: bytes, to: int) -> None:
        if not 0 < len(data) <= MAX_BODY:
            raise ValueError(f"a message has 1 to {MAX_BODY:,} bytes, not {len(data):,}")
        await self._pipes.write(Frame(DATA, 0, to, data).encode())


class Master(_Peer):
    """A master's link.  Iterate over it for its events, to the end of gfork.

    async with Master() as master:
        async for event in master:
            match event:
                case ChildOpened(pid):
                    await master.send(pid, b"welcome")
    """

    async def send(self, pid: int, data: bytes) -> None:
        """Send to one child.  If it has ended, the message is lost.  Raises: LinkLost if gfork ended."""
        await self._send(data, pid)

    async def broadcast(self, data: bytes, but: int | None = None) -> None:
        """Send to all children, or to all but one.  Raises: LinkLost if gfork ended."""
        await self._send(data, 0 if but is None else -but)

    async def __aiter__(self) -> AsyncIterator[ChildOpened | ChildClosed | ChildSent]:
        while frame := await self._receive():
            if frame.type == OPENED:
                yield ChildOpened(frame.from_pid)
            elif frame.type == CLOSED:
                yield ChildClosed(frame.from_pid)
            elif frame.body:
                yield ChildSent(frame.from_pid, frame.body)


class Child(_Peer):
    """A child's link.  Iterate over it for messages, until its last master has ended."""

    async def send(self, data: bytes, to: int = ALL) -> None:
        """Send to all masters, or to the child with the pid `to`.  Raises: LinkLost if gfork ended the link."""
        await self._send(data, to)

    async def __aiter__(self) -> AsyncIterator[PeerSent | MasterEnded]:
        while frame := await self._receive():
            if frame.type == CLOSED:
                yield MasterEnded(frame.from_pid)
            elif frame.type == DATA and frame.body:
                yield PeerSent(frame.from_pid, frame.body)
