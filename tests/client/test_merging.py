"""Equal output of many nodes is kept once, and comes back byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.client.merging import Merged


@pytest.fixture
def merged() -> Iterator[Merged]:
    outputs = Merged()
    yield outputs
    outputs.close()


def content(merged: Merged, rank: int) -> bytes:
    return b"".join(merged.content(merged.position(rank)))


def kept_bytes(merged: Merged) -> int:
    return merged._size


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([b"a", b"b", b"ab", b"aba", b"abab" * 9, b"\0\xff"])), max_size=60
    )
)
def test_outputs_come_back_as_they_were_and_equal_ones_are_together(pieces: list[tuple[int, bytes]]) -> None:
    merged = Merged()
    written = dict.fromkeys(range(5), b"")
    for rank, data in pieces:
        merged.feed(rank, memoryview(data))
        written[rank] += data
        assert content(merged, rank) == written[rank]
    assert {rank: content(merged, rank) for rank in written} == written
    groups = merged.groups(range(5))
    assert sorted(rank for ranks in groups.values() for rank in ranks) == [rank for rank in written if written[rank]]
    for position, ranks in groups.items():
        assert {written[rank] for rank in ranks} == {b"".join(merged.content(position))}
    assert len(groups) == len({text for text in written.values() if text})
    for one in written:
        for other in written:
            leads = merged.position(one).leads_to(merged.position(other))
            assert leads == written[other].startswith(written[one])
    merged.close()


def test_what_many_nodes_print_alike_takes_the_room_of_one(merged: Merged) -> None:
    text = bytes(range(256)) * 4096
    for begin in range(0, len(text), 60_000):
        for rank in range(100):
            merged.feed(rank, memoryview(text)[begin : begin + 60_000])
    merged.feed(99, memoryview(b"one line more"))
    assert kept_bytes(merged) == len(text) + len(b"one line more")
    assert sorted(map(len, merged.groups(range(100)).values())) == [1, 99]


def test_outputs_that_part_late_share_what_comes_before(merged: Merged) -> None:
    for rank in range(10):
        merged.feed(rank, memoryview(b"x" * 100_000 + str(rank).encode()))
    assert kept_bytes(merged) == 100_010
    assert len(merged.groups(range(10))) == 10
    assert content(merged, 7).endswith(b"x7")
