"""Standard input is read in large blocks from those who write much, and at once from all others."""

from __future__ import annotations

import os
import select

import pytest

from gproc.cli.reading import LARGE_BYTES, read_more


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def test_what_a_large_writer_has_ready_comes_in_one_block(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"x" * LARGE_BYTES)
    assert read_more(reader, LARGE_BYTES, 1 << 20) == b"x" * LARGE_BYTES


def test_no_more_is_read_than_there_is_room_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"x" * 1000)
    assert read_more(reader, LARGE_BYTES, 10) == b"x" * 10
    assert read_more(reader, LARGE_BYTES, 0) == b""


def test_the_end_of_the_input_stays_to_be_read(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"last")
    os.close(writer)
    assert read_more(reader, LARGE_BYTES, 1 << 20) == b"last"
    assert os.read(reader, 1) == b""


def test_nobody_waits_behind_a_small_piece(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pipe
    os.write(writer, b"the next line\n")
    monkeypatch.setattr(select, "poll", pytest.fail)
    assert read_more(reader, LARGE_BYTES - 1, 1 << 20) == b""
    assert select.select([reader], [], [], 0)[0]
