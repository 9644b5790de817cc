"""The framing of every connection: a preface each way, then frames.  Pure.

    preface:  "GPROC" | version u16 | channel u8
    frame:    payload length u32 | kind u8 | payload
    CONTROL:  one message of `gproc.wire.messages`, msgpack
    STDIO:    job u64 | rank u32 | stream u8 | offset u64 | bytes; no bytes: end of the stream
    INPUT:    job u64 | offset u64 | signature 64 bytes | bytes; a block of standard input that the master signed;
              no bytes: its end
    CHUNK:    digest 32 bytes | length u32 | offset u32 | codec u8 | bytes; a piece of a chunk in its wire form

All numbers are big-endian.  The form of the preface never changes, so that any two versions can recognise each other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from gproc.content.manifest import CHUNK_BYTES, DIGEST_BYTES
from gproc.errors import GprocError, PeerError

VERSION: Final = 4
"""The version of our messages and frames.  A version can talk to the one before it and the one after it: the newer peer
sends only what the older one knows (docs/wire.md)."""

OLDEST_VERSION: Final = 4
"""Versions 1 to 3 were never released."""

MAGIC: Final = b"GPROC"

CHANNEL_CONTROL: Final = 1
CHANNEL_BULK: Final = 2
CHANNEL_CLIENT: Final = 3
CHANNEL_PEER: Final = 4

KIND_CONTROL: Final = 1
KIND_STDIO: Final = 2
KIND_CHUNK: Final = 3
KIND_INPUT: Final = 4

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
FILES: Final = 3
"""The files that a job brings back, as `gproc get` has them, if its request names any."""

EVERY_RANK: Final = 0xFFFFFFFF
"""The rank in a client's frames of standard input, which goes to every node of the job."""

SIGNATURE_BYTES: Final = 64
"""The size of a signature of Ed25519: RFC 8032."""

MAX_STDIO_BYTES: Final = 256 << 10
"""Data in one STDIO frame: four times a pipe's usual capacity.  Larger frames cost as much in copying as they save."""

MAX_CONTROL_BYTES: Final = 16 << 20
"""Linux takes at most 6 MiB of arguments and environment (execve(2)); the rest is for the paths of 100,000 nodes."""

MAX_BLOB_BYTES: Final = 16 << 20
"""CHUNK frames carry a chunk or a whole manifest.  A manifest of 100,000 files has some 150 bytes for each."""

PIECE_BYTES: Final = 128 << 10
"""Data in one CHUNK frame.  A node passes a piece on before it has the whole chunk.  So eight hops take only as much
longer than one hop as 1 MiB takes on a link.  Smaller pieces cost more in calls than they save (bench/lab.py)."""

CODEC_RAW: Final = 0
CODEC_ZSTD: Final = 1

CLIENT_WINDOW_BYTES: Final = 1 << 20
"""Credit of each output stream between master and client, which share a machine."""

_PREFACE = struct.Struct("!5sHB")
_HEADER = struct.Struct("!IB")
_STDIO = struct.Struct("!QIBQ")
_INPUT = struct.Struct(f"!QQ{SIGNATURE_BYTES}s")
_PIECE = struct.Struct(f"!{DIGEST_BYTES}sIIB")

PREFACE_BYTES: Final = _PREFACE.size
HEADER_BYTES: Final = _HEADER.size
STDIO_HEADER_BYTES: Final = _STDIO.size

BUFFER_BYTES: Final = 64 << 10
"""Receive buffer of a connection; a longer frame gets one of its own size."""

_LIMITS: Final = {
    KIND_CONTROL: MAX_CONTROL_BYTES,
    KIND_STDIO: MAX_STDIO_BYTES + STDIO_HEADER_BYTES,
    KIND_CHUNK: PIECE_BYTES + _PIECE.size,
    KIND_INPUT: MAX_STDIO_BYTES + _INPUT.size,
}

assert CHUNK_BYTES <= MAX_BLOB_BYTES


def preface(channel: int) -> bytes:
    return _PREFACE.pack(MAGIC, VERSION, channel)


def read_preface(data: bytes | memoryview) -> int:
    """The channel that the peer opens.

    Raises: PeerError if it is not a preface, or of another version: the message names both versions.
    """
    magic, version, channel = _PREFACE.unpack(data)
    if magic != MAGIC:
        raise PeerError(f"not a gproc peer: it began with {bytes(data)!r}")
    if not OLDEST_VERSION <= version <= VERSION + 1 or version < VERSION - 1:
        raise PeerError(
            f"the peer speaks version {version} of gproc's protocol, we speak {VERSION}: run the same release on both, "
            "or two that follow each other"
        )
    if channel not in (CHANNEL_CONTROL, CHANNEL_BULK, CHANNEL_CLIENT, CHANNEL_PEER):
        raise PeerError(f"the peer opened channel {channel}, which does not exist")
    return int(channel)


def header(kind: int, length: int) -> bytes:
    return _HEADER.pack(length, kind)


def stdio_frame(job: int, rank: int, stream: int, offset: int, data: bytes | memoryview) -> bytes:
    """offset: bytes of this stream of this rank that come before `data`."""
    return b"".join((stdio_head(job, rank, stream, offset, len(data)), data))


def stdio_head(job: int, rank: int, stream: int, offset: int, size: int) -> bytes:
    """The bytes before the data of a STDIO frame.  size: bytes of the data."""
    return _HEADER.pack(STDIO_HEADER_BYTES + size, KIND_STDIO) + _STDIO.pack(job, rank, stream, offset)


def read_stdio(payload: memoryview) -> tuple[int, int, int, int, memoryview]:
    """Job, rank, stream, offset and data of a STDIO frame.

    Raises: PeerError if it is too short or names a stream that does not exist.
    """
    if len(payload) < STDIO_HEADER_BYTES:
        raise PeerError(f"a STDIO frame of {len(payload)} bytes is shorter than its header")
    job, rank, stream, offset = _STDIO.unpack_from(payload)
    if stream > FILES:
        raise PeerError(f"a STDIO frame for stream {stream}, which does not exist")
    return job, rank, stream, offset, payload[STDIO_HEADER_BYTES:]


class InputBlock(NamedTuple):
    """A part of a job's standard input, and the master's signature over it and its place in the stream
    (`gproc.trust.orders`).  offset: bytes before it.  No data: the end of the stream."""

    offset: int
    signature: bytes
    data: bytes


def input_frame(job: int, block: InputBlock) -> bytes:
    head = _HEADER.pack(_INPUT.size + len(block.data), KIND_INPUT)
    return b"".join((head, _INPUT.pack(job, block.offset, block.signature), block.data))


def read_input(payload: memoryview) -> tuple[int, InputBlock]:
    """Job and block of an INPUT frame.  Raises: PeerError if it is too short."""
    if len(payload) < _INPUT.size:
        raise PeerError(f"an INPUT frame of {len(payload)} bytes is shorter than its header")
    job, offset, signature = _INPUT.unpack_from(payload)
    return job, InputBlock(offset, signature, bytes(payload[_INPUT.size :]))


class Piece(NamedTuple):
    """A part of a chunk in its wire form.

    total: length of the whole wire form; offset: the position of `data` in it.  The receiver can check the digest only
    when the chunk is complete.
    """

    digest: bytes
    total: int
    offset: int
    codec: int
    data: bytes | memoryview

    @property
    def is_last(self) -> bool:
        return self.offset + len(self.data) == self.total


def piece_head(piece: Piece) -> bytes:
    """The bytes before a piece's data on the wire."""
    return _HEADER.pack(_PIECE.size + len(piece.data), KIND_CHUNK) + _PIECE.pack(
        piece.digest, piece.total, piece.offset, piece.codec
    )


def read_piece(payload: memoryview) -> Piece:
    """The piece in a CHUNK frame.

    Raises: PeerError if the frame is too short, its numbers contradict each other, or it is not one of those that
    `pieces` makes: a chunk in a million pieces would cost its receiver a hundred times its size.
    """
    if len(payload) < _PIECE.size:
        raise PeerError(f"a CHUNK frame of {len(payload)} bytes is shorter than its header")
    digest, total, offset, codec = _PIECE.unpack_from(payload)
    data = payload[_PIECE.size :]
    if total > MAX_BLOB_BYTES or offset + len(data) > total or not data:
        raise PeerError(f"a piece of {len(data)} bytes at {offset} of {total}, which does not fit")
    if offset % PIECE_BYTES or len(data) != min(PIECE_BYTES, total - offset):
        raise PeerError(f"a piece of {len(data)} bytes at {offset} of {total}, not cut at multiples of {PIECE_BYTES}")
    if codec not in (CODEC_RAW, CODEC_ZSTD):
        raise PeerError(f"a piece in codec {codec}, which does not exist")
    return Piece(digest, total, offset, codec, data)


def pieces(digest: bytes, codec: int, wire: bytes | memoryview) -> Iterator[Piece]:
    """A chunk's wire form, cut into pieces."""
    view = memoryview(wire)
    for offset in range(0, len(view), PIECE_BYTES):
        yield Piece(digest, len(view), offset, codec, view[offset : offset + PIECE_BYTES])


class Room(Protocol):
    """Memory for frames that are longer than BUFFER_BYTES."""

    def hold(self, size: int) -> None:
        """Raises: GprocError if there is no more."""

    def free(self, size: int) -> None: ...


class FrameReader:
    """Cuts a stream of bytes into frames.

    The caller writes received bytes into `space()` and then reads `frames(count)`.  A payload is a view into the
    reader's buffer and is valid until the next frame is read.  The payload of a CHUNK stays valid.
    """

    def __init__(self, room: Room | None = None) -> None:
        """room: None if there is as much as is needed."""
        self._room = room
        self._small = bytearray(BUFFER_BYTES)
        self._buffer = self._small
        self._start = 0
        self._end = 0
        self._is_lent = False
        """Whether a CHUNK that stays valid is in the large buffer."""

    def space(self) -> memoryview:
        """The place for the next bytes; never empty."""
        if self._end == len(self._buffer):
            self._make_room(0)
        return memoryview(self._buffer)[self._end :]

    def missing(self) -> int:
        """Bytes until the present frame is complete; 0 if none has begun or its length is not known yet."""
        have = self._end - self._start
        if have < HEADER_BYTES:
            return 0
        length, _ = _HEADER.unpack_from(self._buffer, self._start)
        return int(HEADER_BYTES + length - have)

    def frames(self, count: int) -> Iterator[tuple[int, memoryview]]:
        """(kind, payload) of each frame that is complete with `count` more received bytes.

        Raises: PeerError if a kind does not exist or a length is above its kind's limit.
        """
        self._end += count
        was_full_piece = was_large = False
        while self._end - self._start >= HEADER_BYTES:
            length, kind = _HEADER.unpack_from(self._buffer, self._start)
            limit = _LIMITS.get(kind)
            if limit is None:
                raise PeerError(f"a frame of kind {kind}, which does not exist")
            if length > limit:
                raise PeerError(f"a frame of {length} bytes, longer than the {limit} that its kind may have")
            begin = self._start + HEADER_BYTES
            if self._end - begin < length:
                self._make_room(HEADER_BYTES + length)
                return
            payload = memoryview(self._buffer)[begin : begin + length]
            if kind == KIND_CHUNK:
                if self._buffer is self._small or 2 * length < len(self._buffer):
                    payload = memoryview(bytes(payload))
                else:
                    self._is_lent = True
            yield kind, payload
            self._start = begin + length
            was_full_piece = kind == KIND_CHUNK and length == _LIMITS[kind]
            was_large = HEADER_BYTES + length > BUFFER_BYTES
        if self._start == self._end:
            self._start = self._end = 0
            if was_full_piece:
                self._expect_piece()
            elif self._is_lent or not was_large or self._room is not None:
                self._take(self._small)
            # Else another large frame will probably follow, in the same buffer.

    def close(self) -> None:
        """Nothing more will come: give room and memory back at once, although others may refer to this for a while."""
        self._take(self._small)
        self._small = self._buffer = bytearray()

    def raw(self, count: int) -> memoryview:
        """All bytes that are here, with `count` more received ones: for the preface, which is not a frame."""
        self._end += count
        return memoryview(self._buffer)[self._start : self._end]

    def skip(self, count: int) -> None:
        """Drop the first bytes."""
        self._start += count

    def pending(self) -> bool:
        """Whether an incomplete frame is here."""
        return self._end > self._start

    def _make_room(self, frame_bytes: int) -> None:
        waiting = self._end - self._start
        if self._start + frame_bytes <= len(self._buffer) and self._end < len(self._buffer):
            return
        # A view of a buffer may still be in use, so none is resized in place.
        if frame_bytes <= BUFFER_BYTES:
            buffer = self._small
        elif frame_bytes <= len(self._buffer) and not self._is_lent:
            buffer = self._buffer
        else:
            buffer = bytearray(frame_bytes)
        buffer[:waiting] = self._buffer[self._start : self._end]
        self._take(buffer)
        self._start, self._end = 0, waiting

    def _expect_piece(self) -> None:
        """Another full piece will probably follow: in a buffer of its size, it is not copied out of a small one."""
        try:
            self._take(bytearray(HEADER_BYTES + _LIMITS[KIND_CHUNK]))
        except PeerError:  # no room for what has not even begun to come
            self._take(self._small)

    def _take(self, buffer: bytearray) -> None:
        """Use another buffer.  A large one is accounted for."""
        if self._room is not None and buffer is not self._buffer:
            if buffer is not self._small:
                try:
                    self._room.hold(len(buffer))
                except GprocError as error:
                    raise PeerError(str(error)) from error
            if self._buffer is not self._small:
                self._room.free(len(self._buffer))
        if buffer is not self._buffer:
            self._is_lent = False
        self._buffer = buffer
