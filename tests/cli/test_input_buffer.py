"""Standard input on its way to the master: what was taken stays as it was while the next is read."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from gproc.cli.input_buffer import InputBuffer
from gproc.client.session import STDIN_BYTES
from gproc.descriptors import PIPE_BYTES


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_what_was_taken_is_not_written_over_by_what_is_read_next(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    buffer = InputBuffer()
    os.write(writer, b"first, ")
    assert buffer.read(reader, 100) == 7
    os.write(writer, b"still the first")
    assert buffer.read(reader, 5) == 5, "no more than was asked for"
    taken = buffer.take()
    os.write(writer, b"!")
    buffer.read(reader, 100)
    assert bytes(taken) == b"first, still"
    assert bytes(buffer.take()) == b" the first!"


def test_what_is_typed_takes_the_same_way(pipe: tuple[int, int]) -> None:
    buffer = InputBuffer()
    buffer.add(b"ls\n")
    buffer.add(b"")
    assert len(buffer) == 3
    assert bytes(buffer.take()) == b"ls\n"
    assert not buffer


def test_the_end_of_the_input_reads_nothing() -> None:
    buffer = InputBuffer()
    with open(os.devnull, "rb") as null:
        assert buffer.read(null.fileno(), STDIN_BYTES) == 0
    assert not buffer


def test_a_pipe_that_brings_much_is_made_wider_and_one_that_brings_little_is_not(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    buffer = InputBuffer()
    os.write(writer, bytes(PIPE_BYTES - 1))
    buffer.read(reader, STDIN_BYTES)
    assert fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ) == PIPE_BYTES
    os.write(writer, bytes(PIPE_BYTES))
    buffer.read(reader, STDIN_BYTES - len(buffer))
    assert fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ) >= STDIN_BYTES
