"""A chunk on its way in: it becomes whole or is given up, and no wrong one is ever passed on to its end."""

from __future__ import annotations

import asyncio
import itertools
import os

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from gproc.content.manifest import CHUNK_BYTES, digest_of
from gproc.spread.incoming import IncomingChunk, deflate, inflate
from gproc.wire import frames
from gproc.wire.frames import CODEC_RAW, CODEC_ZSTD, Piece

DATA = os.urandom(3 * frames.PIECE_BYTES + 5)
DIGEST = digest_of(DATA)


def arrival(digest: bytes = DIGEST) -> IncomingChunk:
    return IncomingChunk(digest, CHUNK_BYTES)


def feed(into: IncomingChunk, wire: bytes, codec: int = CODEC_RAW) -> bytes | None:
    """All of it, in order; what it is in the end."""
    through = [into.add(piece) for piece in frames.pieces(into.digest, codec, wire)]
    assert through == [False] * (len(through) - 1) + [True]
    return whole(into)


def whole(came: IncomingChunk) -> bytes | None:
    content = came.finish()
    return None if content is None else b"".join(content)


async def passed_on(from_: IncomingChunk) -> bytes:
    """What a reader has in the end, who begins again where a piece does."""
    wire = b""
    async for piece in from_.pieces():
        wire = bytes(piece.data) if piece.offset == 0 else wire + bytes(piece.data)
    return wire


@given(st.binary(min_size=1, max_size=2000), st.lists(st.integers(1, 2000)))
def test_a_chunk_is_whole_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    came = arrival(digest_of(data))
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in itertools.pairwise(bounds):
        through = came.add(Piece(came.digest, len(data), begin, CODEC_RAW, data[begin:end]))
        assert through == (end == len(data))
    assert whole(came) == data
    assert asyncio.run(passed_on(came)) == data


@pytest.mark.parametrize("wrong", [DATA[:-1] + b"?", DATA[:-1], DATA + b"?", b"?"])
def test_what_is_not_the_chunk_is_given_up_and_its_end_never_passed_on(wrong: bytes) -> None:
    async def work() -> None:
        came = arrival()
        reader = asyncio.create_task(passed_on(came))
        await asyncio.sleep(0)
        assert feed(came, wrong) is None
        assert not came.whole
        assert len(await reader) < len(wrong)

    asyncio.run(work())


@pytest.mark.parametrize("skipped", range(4))
def test_a_sender_that_skips_a_piece_is_through_without_a_chunk(skipped: int) -> None:
    came = arrival()
    pieces = list(frames.pieces(DIGEST, CODEC_RAW, DATA))
    del pieces[skipped]
    for piece in pieces:
        came.add(piece)
    assert came.finish() is None


@pytest.mark.parametrize("before", range(4))
def test_a_sender_that_begins_again_is_followed_by_its_readers(before: int) -> None:
    """What was wrong in the first try does not stay."""

    async def work() -> None:
        came = arrival()
        reader = asyncio.create_task(passed_on(came))
        for piece in list(frames.pieces(DIGEST, CODEC_RAW, bytes(len(DATA))))[:before]:
            came.add(piece)
            await asyncio.sleep(0)
        assert feed(came, DATA) == DATA
        assert await reader == DATA

    asyncio.run(work())


def test_the_wire_form_is_passed_on_as_it_came() -> None:
    text = b"compressible " * 50_000
    came = arrival(digest_of(text))
    wire = deflate(text)
    assert feed(came, wire, CODEC_ZSTD) == text

    async def codecs() -> set[int]:
        return {piece.codec async for piece in came.pieces()}

    assert asyncio.run(codecs()) == {CODEC_ZSTD}
    assert asyncio.run(passed_on(came)) == wire


def test_a_form_longer_than_the_chunk_may_be_takes_no_memory() -> None:
    assert arrival().add(Piece(DIGEST, CHUNK_BYTES + 1, 0, CODEC_RAW, b"?"))
    assert arrival().finish() is None


BOMB = zstandard.ZstdCompressor(level=1).compress(bytes(64 << 20))
UNSIZED_BOMB = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(bytes(64 << 20))
SIZED = deflate(b"x" * 1000)


@pytest.mark.parametrize("wire", [BOMB, UNSIZED_BOMB, b"?", b"", SIZED[:-1], SIZED[:4] + b"\xff" * 8 + SIZED[12:]])
def test_a_zstd_bomb_or_a_corrupt_frame_is_refused(wire: bytes) -> None:
    assert inflate(wire, CHUNK_BYTES) is None
    came = arrival(digest_of(bytes(64 << 20)))
    for piece in frames.pieces(came.digest, CODEC_ZSTD, wire):
        came.add(piece)
    assert came.finish() is None
