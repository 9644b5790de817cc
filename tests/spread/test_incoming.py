"""An arriving chunk becomes complete or is given up, and a wrong one is never passed on to its end."""

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


def add_all(chunk: IncomingChunk, wire: bytes, codec: int = CODEC_RAW) -> bytes | None:
    """Add all pieces in order.  Returns the chunk's content."""
    last = [chunk.add(piece) for piece in frames.pieces(chunk.digest, codec, wire)]
    assert last == [False] * (len(last) - 1) + [True]
    return content_of(chunk)


def content_of(chunk: IncomingChunk) -> bytes | None:
    content = chunk.finish()
    return None if content is None else b"".join(content)


async def passed_on(from_: IncomingChunk) -> bytes:
    """What a reader has in the end, if it starts again at every piece with offset 0."""
    wire = b""
    async for piece in from_.pieces():
        wire = bytes(piece.data) if piece.offset == 0 else wire + bytes(piece.data)
    return wire


@given(st.binary(min_size=1, max_size=2000), st.lists(st.integers(1, 2000)))
def test_a_chunk_cut_anywhere_is_whole_again(data: bytes, cuts: list[int]) -> None:
    came = arrival(digest_of(data))
    bounds = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in itertools.pairwise(bounds):
        is_last = came.add(Piece(came.digest, len(data), begin, CODEC_RAW, data[begin:end]))
        assert is_last == (end == len(data))
    assert content_of(came) == data
    assert asyncio.run(passed_on(came)) == data


@pytest.mark.parametrize("wrong", [DATA[:-1] + bytes([DATA[-1] ^ 1]), DATA[:-1], DATA + b"?", b"?"])
def test_a_wrong_chunk_is_given_up_and_its_end_is_never_passed_on(wrong: bytes) -> None:
    async def work() -> None:
        came = arrival()
        reader = asyncio.create_task(passed_on(came))
        await asyncio.sleep(0)
        assert add_all(came, wrong) is None
        assert not came.whole
        assert len(await reader) < len(wrong)

    asyncio.run(work())


@pytest.mark.parametrize("skipped", range(4))
def test_a_sender_that_skips_a_piece_delivers_no_chunk(skipped: int) -> None:
    came = arrival()
    pieces = list(frames.pieces(DIGEST, CODEC_RAW, DATA))
    del pieces[skipped]
    for piece in pieces:
        came.add(piece)
    assert came.finish() is None


@pytest.mark.parametrize("before", range(4))
def test_readers_start_again_when_a_sender_does(before: int) -> None:
    """Wrong pieces of the first attempt do not stay."""

    async def work() -> None:
        came = arrival()
        reader = asyncio.create_task(passed_on(came))
        for piece in list(frames.pieces(DIGEST, CODEC_RAW, bytes(len(DATA))))[:before]:
            came.add(piece)
            await asyncio.sleep(0)
        assert add_all(came, DATA) == DATA
        assert await reader == DATA

    asyncio.run(work())


def test_the_wire_form_is_passed_on_as_it_came() -> None:
    text = b"compressible " * 50_000
    came = arrival(digest_of(text))
    wire = deflate(text)
    assert add_all(came, wire, CODEC_ZSTD) == text

    async def codecs() -> set[int]:
        return {piece.codec async for piece in came.pieces()}

    assert asyncio.run(codecs()) == {CODEC_ZSTD}
    assert asyncio.run(passed_on(came)) == wire


def test_a_chunk_above_the_limit_is_refused_at_its_first_piece() -> None:
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
