"""Frames as bytes: cut anywhere, followed by anything, and never with more memory than the limits allow."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproc.content.manifest import CHUNK_BYTES, DIGEST_BYTES
from gproc.errors import PeerError, StoreError
from gproc.wire import frames, messages
from gproc.wire.frames import FrameReader, Piece
from tests.pieces import piece_frame

Frame = tuple[int, bytes]

digests = st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES)
payloads = st.one_of(
    st.binary(max_size=40),
    # Around the size of the small buffer, and longer.
    st.integers(frames.BUFFER_BYTES - 8, frames.BUFFER_BYTES + 8).map(lambda size: b"x" * size),
    st.just(b"y" * 200_000),
)
controls = payloads.map(lambda payload: (frames.KIND_CONTROL, payload))
FULL_PIECE: Frame = (
    frames.KIND_CHUNK,
    piece_frame(Piece(b"d" * 32, frames.PIECE_BYTES, 0, 0, b"z" * frames.PIECE_BYTES))[frames.HEADER_BYTES :],
)
chunks = st.one_of(st.just(FULL_PIECE), payloads.filter(lambda payload: len(payload) <= len(FULL_PIECE[1])).map(
    lambda payload: (frames.KIND_CHUNK, payload)
))  # fmt: skip
lists_of_frames = st.lists(st.one_of(controls, chunks), max_size=6)


def wire_of(sent: Iterable[Frame]) -> bytes:
    return b"".join(frames.header(kind, len(payload)) + payload for kind, payload in sent)


def read_all(reader: FrameReader, data: bytes) -> list[Frame]:
    """The frames that the reader makes of the data, written into its space part by part as a socket would.

    The payload of a CHUNK is read when all have come.
    """
    read: list[tuple[int, bytes | memoryview]] = []
    rest = memoryview(data)
    while rest:
        space = reader.space()
        count = min(len(space), len(rest))
        assert count
        space[:count] = rest[:count]
        rest = rest[count:]
        read += [
            (kind, payload if kind == frames.KIND_CHUNK else bytes(payload)) for kind, payload in reader.frames(count)
        ]
    return [(kind, bytes(payload)) for kind, payload in read]


def stdio(job: int, rank: int, stream: int, data: bytes, offset: int = 0) -> Frame:
    wire = frames.stdio_frame(job, rank, stream, offset, data)
    return frames.KIND_STDIO, wire[frames.HEADER_BYTES :]


EVERY_FRAME: list[Frame] = [
    (frames.KIND_CONTROL, messages.frame(messages.Ping())[frames.HEADER_BYTES :]),
    (frames.KIND_CONTROL, b""),
    stdio(1, 2, frames.STDOUT, b"hello\n"),
    stdio(2**64 - 1, frames.EVERY_RANK, frames.STDIN, b""),
    (frames.KIND_CHUNK, piece_frame(Piece(b"d" * 32, 9, 4, frames.CODEC_RAW, b"bytes"))[frames.HEADER_BYTES :]),
]


@pytest.mark.parametrize("frame", EVERY_FRAME)
def test_a_frame_arrives_whole_byte_by_byte_and_with_more_behind(frame: Frame) -> None:
    wire = wire_of([frame])
    assert read_all(FrameReader(), wire) == [frame]
    reader = FrameReader()
    assert [read for byte in wire for read in read_all(reader, bytes([byte]))] == [frame]
    assert not reader.pending()
    reader = FrameReader()
    assert read_all(reader, wire + b"\0") == [frame]
    assert reader.pending()


@given(lists_of_frames, st.lists(st.integers(0, 400_000), max_size=8))
def test_frames_cut_anywhere_are_the_same_frames(sent: list[Frame], cuts: list[int]) -> None:
    wire = wire_of(sent)
    reader = FrameReader()
    read: list[Frame] = []
    edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    for begin, end in pairwise(edges):
        read += read_all(reader, wire[begin:end])
    assert read == sent
    assert not reader.pending()


@given(lists_of_frames)
def test_a_reader_keeps_no_more_than_one_frame(sent: list[Frame]) -> None:
    reader = FrameReader()
    wire = wire_of(sent)
    for begin in range(0, len(wire), 5000):
        read_all(reader, wire[begin : begin + 5000])
        longest = max(len(payload) for _, payload in sent) + frames.HEADER_BYTES
        assert len(reader.space()) <= max(frames.BUFFER_BYTES, longest)


def test_a_small_piece_behind_a_full_one_does_not_keep_the_memory_of_a_full_one() -> None:
    reader = FrameReader()
    assert read_all(reader, wire_of([FULL_PIECE])) == [FULL_PIECE]
    data = wire_of([(frames.KIND_CHUNK, b"small")])
    reader.space()[: len(data)] = data
    [(_, payload)] = reader.frames(len(data))
    assert len(memoryview(payload.obj)) == len(b"small")


def test_large_frames_one_after_the_other_come_into_one_buffer_and_a_small_one_frees_it() -> None:
    large: Frame = (frames.KIND_CONTROL, b"l" * 200_000)
    reader = FrameReader()
    assert read_all(reader, wire_of([large])) == [large]
    buffer = reader.space().obj
    assert read_all(reader, wire_of([large, large])) == [large, large]
    assert reader.space().obj is buffer
    assert read_all(reader, wire_of([(frames.KIND_CONTROL, b"small")])) == [(frames.KIND_CONTROL, b"small")]
    assert len(reader.space()) == frames.BUFFER_BYTES


class Bounded:
    """Room for so many bytes."""

    def __init__(self, size: int) -> None:
        self.left = size

    def hold(self, size: int) -> None:
        if size > self.left:
            raise StoreError("there is no more room")
        self.left -= size

    def free(self, size: int) -> None:
        self.left += size


def test_room_for_the_next_piece_is_taken_ahead_only_if_there_is_some_and_given_back() -> None:
    size = frames.HEADER_BYTES + len(FULL_PIECE[1])
    room = Bounded(2 * size)
    reader = FrameReader(room)
    assert read_all(reader, wire_of([FULL_PIECE])) == [FULL_PIECE]
    assert room.left == size
    room.left -= size  # others take the rest: the reader gives its buffer up, and gets no other
    assert read_all(reader, wire_of([FULL_PIECE])) == [FULL_PIECE]
    assert room.left == size
    reader.close()
    assert room.left == size


CAPS = {
    frames.KIND_CONTROL: frames.MAX_CONTROL_BYTES,
    frames.KIND_STDIO: frames.MAX_STDIO_BYTES + frames.STDIO_HEADER_BYTES,
    frames.KIND_CHUNK: len(piece_frame(Piece(b"d" * 32, 1, 0, 0, b"x" * frames.PIECE_BYTES)))
    - frames.HEADER_BYTES,
}


@pytest.mark.parametrize("kind", CAPS)
@pytest.mark.parametrize("excess", [1, 2**32 - 1])
def test_a_frame_longer_than_its_kind_may_have_is_refused_by_its_header_alone(kind: int, excess: int) -> None:
    length = min(CAPS[kind] + excess, 2**32 - 1)
    with pytest.raises(PeerError, match=f"{length} bytes, longer than the {CAPS[kind]}"):
        read_all(FrameReader(), frames.header(kind, length))


@pytest.mark.parametrize("kind", CAPS)
def test_the_longest_frame_of_each_kind_is_accepted(kind: int) -> None:
    payload = bytes(CAPS[kind])
    assert read_all(FrameReader(), wire_of([(kind, payload)])) == [(kind, payload)]


@pytest.mark.parametrize("kind", [0, 5, 255])
def test_a_kind_that_does_not_exist_is_refused(kind: int) -> None:
    with pytest.raises(PeerError, match=f"kind {kind}"):
        read_all(FrameReader(), frames.header(kind, 0))


def test_frames_before_a_bad_one_are_read() -> None:
    reader = FrameReader()
    data = wire_of([EVERY_FRAME[0]]) + frames.header(9, 1)
    reader.space()[: len(data)] = data
    incoming = reader.frames(len(data))
    assert next(incoming)[0] == frames.KIND_CONTROL
    with pytest.raises(PeerError):
        next(incoming)


@pytest.mark.parametrize(
    "channel", [frames.CHANNEL_CONTROL, frames.CHANNEL_BULK, frames.CHANNEL_CLIENT, frames.CHANNEL_PEER]
)
def test_a_preface_names_its_channel(channel: int) -> None:
    assert len(frames.preface(channel)) == frames.PREFACE_BYTES
    assert frames.read_preface(frames.preface(channel)) == channel


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HT", "not a gproc peer: it began with b'GET / HT'"),
        (b"\x16\x03\x01\0\0\0\0\0", "not a gproc peer"),
        (struct.pack("!5sHB", frames.MAGIC, frames.VERSION + 2, 1), f"version {frames.VERSION + 2} .* we speak"),
        (struct.pack("!5sHB", frames.MAGIC, frames.VERSION, 0), "channel 0"),
        (struct.pack("!5sHB", frames.MAGIC, frames.VERSION, 99), "channel 99"),
    ],
)
def test_a_bad_preface_is_refused_with_the_reason(data: bytes, words: str) -> None:
    with pytest.raises(PeerError, match=words):
        frames.read_preface(data)


NUMBERS = st.integers(0, 2**64 - 1)


@given(NUMBERS, st.integers(0, 2**32 - 1), st.integers(0, 2), NUMBERS, st.binary(max_size=100))
def test_stdio_arrives_as_it_was_sent(job: int, rank: int, stream: int, offset: int, data: bytes) -> None:
    _, payload = stdio(job, rank, stream, data, offset)
    *head, read = frames.read_stdio(memoryview(payload))
    assert head == [job, rank, stream, offset]
    assert bytes(read) == data


def test_stdio_for_a_stream_that_does_not_exist_is_refused() -> None:
    _, payload = stdio(1, 1, 4, b"")
    with pytest.raises(PeerError, match="stream 4"):
        frames.read_stdio(memoryview(payload))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_stdio_or_a_piece_or_are_the_peers_fault(data: bytes) -> None:
    for read in (frames.read_stdio, frames.read_piece):
        try:
            read(memoryview(data))
        except PeerError as error:
            assert str(error)


@given(digests, st.sampled_from([frames.CODEC_RAW, frames.CODEC_ZSTD]), st.integers(1, 3 * frames.PIECE_BYTES))
def test_a_chunk_cut_into_pieces_is_whole_again(digest: bytes, codec: int, size: int) -> None:
    wire = bytes(size)
    read = [
        frames.read_piece(memoryview(piece_frame(piece))[frames.HEADER_BYTES :])
        for piece in frames.pieces(digest, codec, wire)
    ]
    assert {(piece.digest, piece.total, piece.codec) for piece in read} == {(digest, size, codec)}
    assert [piece.offset for piece in read] == list(range(0, size, frames.PIECE_BYTES))
    assert b"".join(piece.data for piece in read) == wire


@pytest.mark.parametrize(
    "piece",
    [
        Piece(b"d" * 32, frames.MAX_BLOB_BYTES + 1, 0, 0, b"x"),
        Piece(b"d" * 32, 4, 4, 0, b"x"),
        Piece(b"d" * 32, 4, 0, 0, b"12345"),
        Piece(b"d" * 32, 4, 2**32 - 1, 0, b"x"),
        Piece(b"d" * 32, 4, 0, 0, b""),
        Piece(b"d" * 32, 4, 0, 7, b"x"),
    ],
)
def test_a_piece_with_contradictory_numbers_is_refused(piece: Piece) -> None:
    with pytest.raises(PeerError):
        frames.read_piece(memoryview(piece_frame(piece))[frames.HEADER_BYTES :])


def test_a_chunk_is_shorter_than_the_longest_blob() -> None:
    assert CHUNK_BYTES < frames.MAX_BLOB_BYTES


def test_the_version_that_comes_after_ours_is_spoken_to() -> None:
    assert frames.read_preface(struct.pack("!5sHB", frames.MAGIC, frames.VERSION + 1, 1)) == 1
