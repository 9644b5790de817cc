"""A chunk on its way in: what is here of it can be passed on before the rest is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gproc.bundle.manifest import digest_of
from gproc.wire import frames
from gproc.wire.frames import MAX_BLOB_BYTES, Piece


class Arrival:
    """The wire form of one chunk, as far as it came.  A sender that begins again begins it again."""

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.codec = frames.CODEC_RAW
        self.over = False
        """No more pieces will come: it is complete, or was given up."""
        self._wire = bytearray()
        self._filled = 0
        self._round = 0
        self._readers: list[asyncio.Future[None]] = []

    @property
    def complete(self) -> bool:
        return 0 < len(self._wire) == self._filled

    def add(self, piece: Piece) -> None:
        """A piece that is not the next one is of a sender that was given up, and is passed over."""
        if piece.offset == 0 and not (self._filled and self._continues(piece)):
            self._wire = bytearray(piece.total)
            self.codec = piece.codec
            self._filled = 0
            self._round += 1
        if piece.offset != self._filled or not self._continues(piece):
            return
        end = piece.offset + len(piece.data)
        self._wire[piece.offset : end] = piece.data
        self._filled = end
        self._wake()

    def content(self) -> bytes | None:
        """The chunk itself; None where what came is not what its digest names."""
        data: bytes | None = bytes(self._wire)
        if self.codec == frames.CODEC_ZSTD:
            data = inflate(self._wire)
        return data if data is not None and digest_of(data) == self.digest else None

    def finish(self) -> None:
        self.over = True
        self._wake()

    async def pieces(self) -> AsyncIterator[Piece]:
        """Every piece, as it comes; ends early where the arrival is given up."""
        position, turn = 0, self._round
        while True:
            if turn != self._round:
                position, turn = 0, self._round
            if position < self._filled:
                end = min(self._filled, position + frames.PIECE_BYTES)
                yield Piece(self.digest, len(self._wire), position, self.codec, bytes(self._wire[position:end]))
                position = end
            elif self.over or self.complete:
                return
            else:
                reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._readers.append(reader)
                await reader

    def _continues(self, piece: Piece) -> bool:
        return piece.total == len(self._wire) and piece.codec == self.codec

    def _wake(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)


def deflate(data: bytes | memoryview) -> bytes:
    import zstandard  # 2 MB and 5 ms: only where a link is slow

    return zstandard.ZstdCompressor(level=1).compress(data)


def inflate(wire: bytes | bytearray) -> bytes | None:
    """None for what is no zstd frame, or would be longer than a chunk or a manifest can be."""
    import zstandard

    try:
        # A frame may promise any size, and the library would make room for it.
        if zstandard.frame_content_size(wire) > MAX_BLOB_BYTES:
            return None
        return zstandard.ZstdDecompressor().decompress(wire, max_output_size=MAX_BLOB_BYTES)
    except zstandard.ZstdError:
        return None
