"""A chunk on its way in from one source: what is here of it can be passed on before the rest is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gproc.bundle.manifest import digest_of
from gproc.wire import frames
from gproc.wire.frames import Piece


class Arrival:
    """The wire form of one chunk, as far as it came.  A sender that begins again begins it again.

    max_bytes: what the chunk may have at most, in its wire form and inflated.
    """

    def __init__(self, digest: bytes, max_bytes: int) -> None:
        self.digest = digest
        self.codec = frames.CODEC_RAW
        self.whole = False
        """All of it is here and is what its digest names."""
        self._max_bytes = max_bytes
        self._over = False
        self._wire = bytearray()
        self._filled = 0
        self._round = 0
        self._readers: list[asyncio.Future[None]] = []

    def add(self, piece: Piece) -> bool:
        """Take a piece; whether the sender is through with the chunk.  One that is not the next is passed over."""
        if piece.total > self._max_bytes:
            return True
        if piece.offset == 0:
            self._wire = bytearray(piece.total)
            self.codec = piece.codec
            self._filled = 0
            self._round += 1
        if piece.offset == self._filled and piece.total == len(self._wire) and piece.codec == self.codec:
            self._wire[piece.offset : piece.offset + len(piece.data)] = piece.data
            self._filled += len(piece.data)
            self._wake()
        return piece.offset + len(piece.data) == piece.total

    def finish(self) -> bytes | None:
        """No more pieces will come: the chunk itself; None where what came is not what its digest names."""
        self._over = True
        data: bytes | None = None
        if 0 < len(self._wire) == self._filled:
            data = inflate(self._wire, self._max_bytes) if self.codec == frames.CODEC_ZSTD else bytes(self._wire)
        self.whole = data is not None and digest_of(data) == self.digest
        self._wake()
        return data if self.whole else None

    async def pieces(self) -> AsyncIterator[Piece]:
        """Every piece, as it comes; the last only when the chunk is `whole`, so that no wrong one is passed on."""
        position, turn = 0, self._round
        while not self._over or self.whole:
            if turn != self._round:
                position, turn = 0, self._round
            if position < self._filled and (self.whole or self._filled < len(self._wire)):
                end = min(self._filled, position + frames.PIECE_BYTES)
                yield Piece(self.digest, len(self._wire), position, self.codec, bytes(self._wire[position:end]))
                position = end
            elif self.whole:
                return
            else:
                reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._readers.append(reader)
                await reader

    def _wake(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)


def deflate(data: bytes | memoryview) -> bytes:
    import zstandard  # 2 MB and 5 ms: only where a link is slow

    return zstandard.ZstdCompressor(level=1).compress(data)


def inflate(wire: bytes | bytearray, max_bytes: int) -> bytes | None:
    """None for what is no zstd frame, or would be longer than max_bytes."""
    import zstandard

    try:
        # A frame may promise any size, and the library would make room for it.
        if zstandard.frame_content_size(wire) > max_bytes:
            return None
        return zstandard.ZstdDecompressor().decompress(wire, max_output_size=max_bytes)
    except zstandard.ZstdError:
        return None
