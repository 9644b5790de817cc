"""A program's pipes on a real event loop: no more than there is credit for, and nothing lost when an end closes."""

from __future__ import annotations

import asyncio
import fcntl
import os

import pytest

from gproc.node.pipes import InputPipe, OutputPipe, close_all, make_pipe
from gproc.wire.frames import MAX_STDIO_BYTES
from tests.loop import run

F_SETPIPE_SZ = 1031
PIPE_BYTES = 4096


class Deliveries:
    """What a pipe says, and a way to wait for it."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.consumed = 0
        self._changed = asyncio.Event()

    def deliver(self, data: bytes) -> None:
        self.data.append(data)
        self._changed.set()

    def consume(self, size: int) -> None:
        self.consumed += size
        self._changed.set()

    @property
    def size(self) -> int:
        return sum(map(len, self.data))

    async def until_read(self, size: int) -> None:
        while self.size < size:
            await self._wait()

    async def until_consumed(self, size: int) -> None:
        while self.consumed < size:
            await self._wait()

    async def until_end(self) -> None:
        while b"" not in self.data:
            await self._wait()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()


async def a_few_turns() -> None:
    """Long enough for everything that is ready now to be handled."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_no_more_is_read_than_there_is_credit_for() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=True)
        heard = Deliveries()
        pipe = OutputPipe(ours, 10, heard.deliver)
        os.write(theirs, b"0123456789abcdef")
        await heard.until_read(10)
        await a_few_turns()
        assert b"".join(heard.data) == b"0123456789"
        pipe.credit(3)
        await heard.until_read(13)
        await a_few_turns()
        assert b"".join(heard.data) == b"0123456789abc"
        pipe.credit(100)
        os.close(theirs)
        await heard.until_end()
        assert b"".join(heard.data) == b"0123456789abcdef"

    run(work())


def test_the_end_of_output_is_told_once_and_the_pipe_is_closed() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=True)
        heard = Deliveries()
        pipe = OutputPipe(ours, 100, heard.deliver)
        os.close(theirs)
        await heard.until_end()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(ours)
        pipe.credit(5)
        pipe.close()
        await a_few_turns()
        assert heard.data == [b""]

    run(work())


def test_the_end_of_output_is_not_told_without_credit_before_what_came_first() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=True)
        heard = Deliveries()
        pipe = OutputPipe(ours, 4, heard.deliver)
        os.write(theirs, b"12345")
        os.close(theirs)
        await heard.until_read(4)
        await a_few_turns()
        assert b"".join(heard.data) == b"1234"
        pipe.credit(1)
        await heard.until_read(5)
        pipe.credit(1)
        await heard.until_end()
        assert b"".join(heard.data) == b"12345"

    run(work())


def test_one_read_is_no_longer_than_a_frame_may_be() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=True)
        fcntl.fcntl(theirs, F_SETPIPE_SZ, 4 * MAX_STDIO_BYTES)
        heard = Deliveries()
        OutputPipe(ours, 1 << 30, heard.deliver)
        os.write(theirs, b"x" * 3 * MAX_STDIO_BYTES)
        await heard.until_read(3 * MAX_STDIO_BYTES)
        assert max(map(len, heard.data)) <= MAX_STDIO_BYTES
        os.close(theirs)
        await heard.until_end()

    run(work())


def test_input_reaches_the_program_in_order_and_then_its_end() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=False)
        told = Deliveries()
        pipe = InputPipe(ours, told.consume)
        for piece in (b"one", b"two", b""):
            pipe.write(piece)
        assert os.read(theirs, 100) == b"onetwo"
        assert os.read(theirs, 100) == b""
        assert told.consumed == 6
        os.close(theirs)

    run(work())


def test_a_slow_reader_is_told_of_as_it_reads() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=False)
        fcntl.fcntl(theirs, F_SETPIPE_SZ, PIPE_BYTES)
        told = Deliveries()
        pipe = InputPipe(ours, told.consume)
        data = os.urandom(3 * PIPE_BYTES)
        pipe.write(data)
        pipe.write(b"")
        await a_few_turns()
        assert told.consumed == PIPE_BYTES
        read = b""
        for pages in (2, 3):
            read += os.read(theirs, PIPE_BYTES)
            await told.until_consumed(pages * PIPE_BYTES)
        assert read + os.read(theirs, PIPE_BYTES) == data
        assert os.read(theirs, 1) == b""
        os.close(theirs)

    run(work())


def test_a_program_that_gets_much_has_a_larger_pipe_and_all_in_order() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=False)
        told = Deliveries()
        pipe = InputPipe(ours, told.consume)
        data = os.urandom(MAX_STDIO_BYTES)
        pipe.write(data)
        assert fcntl.fcntl(ours, fcntl.F_GETPIPE_SZ) >= MAX_STDIO_BYTES
        pipe.write(b"")
        read = b""
        while len(read) < len(data):
            read += os.read(theirs, MAX_STDIO_BYTES)
            await a_few_turns()
        assert read == data
        assert os.read(theirs, 1) == b""
        assert told.consumed == len(data)
        os.close(theirs)

    run(work())


def test_a_program_that_closes_its_input_counts_as_having_read_it_all() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=False)
        fcntl.fcntl(theirs, F_SETPIPE_SZ, PIPE_BYTES)
        told = Deliveries()
        pipe = InputPipe(ours, told.consume)
        pipe.write(b"x" * 2 * PIPE_BYTES)
        os.close(theirs)
        await told.until_consumed(2 * PIPE_BYTES)
        pipe.write(b"more")
        pipe.write(b"")
        assert told.consumed == 2 * PIPE_BYTES + 4
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(ours)

    run(work())


def test_closing_the_input_twice_tells_of_what_waits_once() -> None:
    async def work() -> None:
        ours, theirs = make_pipe(reader_is_ours=False)
        fcntl.fcntl(theirs, F_SETPIPE_SZ, PIPE_BYTES)
        told = Deliveries()
        pipe = InputPipe(ours, told.consume)
        pipe.write(b"x" * 2 * PIPE_BYTES)
        pipe.close()
        pipe.close()
        assert told.consumed == 2 * PIPE_BYTES
        os.close(theirs)

    run(work())


def test_pipes_are_not_inherited_and_closing_them_again_does_no_harm() -> None:
    handles = list(make_pipe(reader_is_ours=True))
    assert not any(os.get_inheritable(handle) for handle in handles)
    close_all(handles)
    close_all(handles)
