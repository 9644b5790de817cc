"""Where small contents lie in their packs."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.content.manifest import CHUNK_BYTES
from gproc.copy import packs
from gproc.copy.packs import SMALL_BYTES, Packs

# Sizes of everything from nothing to the largest, with few bytes to draw: what is in them does not matter.
contents = st.lists(
    st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(0, 99), st.integers(0, SMALL_BYTES)),
    max_size=60,
)


def packed(given_: list[bytes]) -> dict[bytes, bytes]:
    filled = Packs()
    for content in given_:
        filled.put(content)
    return filled.whole()


@given(contents)
def test_a_spot_says_where_its_content_is(given_: list[bytes]) -> None:
    filled = Packs()
    spots = [filled.put(content) for content in given_]
    whole = filled.whole()
    for content, spot in zip(given_, spots, strict=True):
        assert spot is not None
        assert whole[spot.pack][spot.offset : spot.offset + len(content)] == content


@given(contents)
def test_equal_contents_are_in_one_place_and_no_pack_is_more_than_a_chunk(given_: list[bytes]) -> None:
    whole = packed(given_ + given_)
    assert sum(map(len, whole.values())) == sum(map(len, set(given_)))
    assert all(len(pack) <= CHUNK_BYTES for pack in whole.values())


@pytest.mark.parametrize("at", [0, 499, 999])
def test_one_content_that_changes_leaves_all_other_packs_as_they_were(at: int) -> None:
    chance = random.Random(1)
    many = [chance.randbytes(chance.randint(0, 8 << 10)) for _ in range(1000)]
    before = set(packed(many).values())
    many[at] = b"changed"
    after = set(packed(many).values())
    assert len(after) > 2
    assert len(after - before) == 1
    assert len(before - after) <= 2


def test_thousands_of_tiny_contents_are_a_few_packs() -> None:
    assert len(packed([b"%d" % number for number in range(10_000)])) <= 3


def test_a_content_of_no_bytes_has_a_place_too() -> None:
    filled = Packs()
    spot = filled.put(b"")
    assert spot is not None
    assert filled.whole() == {spot.pack: b""}


def test_a_large_content_is_not_packed() -> None:
    assert Packs().put(bytes(SMALL_BYTES + 1)) is None


def test_a_content_is_not_packed_if_the_packs_are_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "HELD_BYTES_MAX", 10)
    filled = Packs()
    assert filled.put(b"12345678") is not None
    assert filled.put(b"abc") is None
    assert filled.put(b"12345678") is not None
