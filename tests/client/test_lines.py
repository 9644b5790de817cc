"""Output on its way home, against a reference that keeps everything and sorts it out at the end."""

from __future__ import annotations

import os
import tempfile
from itertools import chain
from tempfile import SpooledTemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.client.lines import LINE_BYTES_MAX, LINE_MEMORY_BYTES, Lines

NODES = 3
LABELS = [b"1: ", b"1/7: ", b"2: "]
pieces = st.one_of(
    st.binary(max_size=6),
    st.lists(st.sampled_from([b"\n", b"a", b"\r", b"\0", b"\xff"]), max_size=8).map(b"".join),
)
feeds = st.lists(st.tuples(st.integers(0, NODES - 1), pieces), max_size=25)


def write(nodes: int, labels: list[bytes] | None, fed: list[tuple[int, bytes]]) -> list[list[bytes]]:
    """What is written after each feed, and, last, at the end."""
    lines = Lines(nodes, labels)
    written = [[bytes(data) for data in lines.feed(rank, memoryview(piece))] for rank, piece in fed]
    return [*written, [bytes(data) for data in lines.finish()]]


def said_by(rank: int, fed: list[tuple[int, bytes]]) -> bytes:
    return b"".join(piece for who, piece in fed if who == rank)


def reference(fed: list[tuple[int, bytes]], labels: list[bytes] | None) -> bytes:
    """Each line at the moment when it is complete; then, by rank, what is not."""
    begun = [b""] * NODES
    written = b""
    label_of = labels or [b""] * NODES
    for rank, piece in fed:
        *whole, begun[rank] = (begun[rank] + piece).split(b"\n")
        written += b"".join(label_of[rank] + line + b"\n" for line in whole)
    for rank, rest in enumerate(begun):
        if rest:
            written += label_of[rank] + rest + (b"\n" if labels else b"")
    return written


@given(feeds)
def test_lines_of_several_nodes_are_written_whole_and_byte_for_byte(fed: list[tuple[int, bytes]]) -> None:
    assert b"".join(chain(*write(NODES, None, fed))) == reference(fed, None)


@given(feeds)
def test_each_labelled_line_has_its_nodes_label(fed: list[tuple[int, bytes]]) -> None:
    assert b"".join(chain(*write(NODES, LABELS, fed))) == reference(fed, LABELS)


@given(feeds)
def test_only_whole_lines_are_written_before_the_end(fed: list[tuple[int, bytes]]) -> None:
    for labels in (None, LABELS):
        for written in write(NODES, labels, fed)[:-1]:
            together = b"".join(written)
            assert not together or together.endswith(b"\n")


@given(st.lists(pieces, max_size=10))
def test_the_output_of_one_node_is_written_as_it_comes(said: list[bytes]) -> None:
    written = write(1, None, [(0, piece) for piece in said])
    assert written == [*([piece] for piece in said), []]


@given(feeds)
def test_one_node_with_a_label_is_still_labelled_by_line(fed: list[tuple[int, bytes]]) -> None:
    alone = [(0, piece) for _, piece in fed]
    assert b"".join(chain(*write(1, LABELS[:1], alone))) == reference(alone, LABELS)


def test_a_long_unfinished_line_waits_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SpooledTemporaryFile[bytes]] = []

    def make(max_size: int) -> SpooledTemporaryFile[bytes]:
        made.append(SpooledTemporaryFile(max_size=max_size))  # noqa: SIM115 - Lines closes it
        return made[-1]

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", make)
    piece = os.urandom(LINE_MEMORY_BYTES // 4).replace(b"\n", b"x")
    lines = Lines(2, None)
    for _ in range(40):
        assert list(lines.feed(1, piece)) == []
    assert [file._rolled for file in made] == [True]  # type: ignore[attr-defined]
    assert b"".join(map(bytes, lines.feed(1, b"\n"))) == 40 * piece + b"\n"
    assert all(file.closed for file in made)


@pytest.mark.parametrize("labels", [None, LABELS])
def test_a_line_without_an_end_is_written_in_parts_and_does_not_fill_the_disk(labels: list[bytes] | None) -> None:
    zeros, lines = bytes(1 << 20), Lines(NODES, labels)
    written = b""
    for _ in range(2 * LINE_BYTES_MAX // len(zeros)):
        assert not written or written.count(b"\0") == LINE_BYTES_MAX
        written += b"".join(bytes(data) for data in lines.feed(0, zeros))
    before, after = (b"", b"") if labels is None else (labels[0], b"\n")
    assert written == (before + bytes(LINE_BYTES_MAX) + after) * 2
    assert b"".join(bytes(data) for data in lines.feed(0, b"end\n")) == before + b"end\n"
