"""A chunk that arrives from one source: its first pieces can be passed on before the last ones are here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from blake3 import blake3

from gproc.content.manifest import digest_of
from gproc.wire import frames
from gproc.wire.frames import Piece

Parts = Sequence[bytes | memoryview]
"""A chunk's content, in consecutive parts."""


class IncomingChunk:
    """The wire form of one chunk, as far as it has arrived.  A piece at offset 0 restarts it.

    max_bytes: the limit for the chunk, in its wire form and decompressed.
    """

    def __init__(self, digest: bytes, max_bytes: int) -> None:
        self.digest = digest
        self.whole = False
        """The chunk is complete and has the right digest."""
        self._max_bytes = max_bytes
        self._finished = False
        self.filled = 0
        """Bytes of the wire form that are here."""
        self._pieces: list[Piece] = []
        self._hash = blake3()
        self._attempt = 0
        self._readers: list[asyncio.Future[None]] = []

    def add(self, piece: Piece) -> bool:
        """Take a piece; returns whether it is the sender's last one.  A piece out of order is ignored."""
        if piece.total > self._max_bytes:
            return True
        if piece.offset == 0:
            self._pieces, self.filled, self._hash = [], 0, blake3()
            self._attempt += 1
        first = self._pieces[0] if self._pieces else piece
        if piece.offset == self.filled and piece.total == first.total and piece.codec == first.codec:
            self._pieces.append(piece)
            self.filled += len(piece.data)
            if piece.codec == frames.CODEC_RAW:
                self._hash.update(piece.data)
            self._wake()
        return piece.is_last

    def finish(self) -> Parts | None:
        """Accept no more pieces.  Returns the chunk, or None if the pieces are not what the digest names."""
        self._finished = True
        content = self._content()
        self.whole = content is not None
        self._wake()
        return content

    async def pieces(self) -> AsyncIterator[Piece]:
        """Every piece, as it comes; the last one only if the chunk is `whole`: no reader completes a wrong chunk."""
        position, attempt = 0, self._attempt
        while not self._finished or self.whole:
            if attempt != self._attempt:
                position, attempt = 0, self._attempt
            if position < len(self._pieces) and (self.whole or not self._pieces[position].is_last):
                yield self._pieces[position]
                position += 1
            elif self.whole:
                return
            else:
                reader: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._readers.append(reader)
                await reader

    def _content(self) -> Parts | None:
        if not self._pieces or not self._pieces[-1].is_last:
            return None
        parts = [piece.data for piece in self._pieces]
        if self._pieces[0].codec == frames.CODEC_RAW:
            return parts if self._hash.digest() == self.digest else None
        data = inflate(b"".join(parts), self._max_bytes)
        return [data] if data is not None and digest_of(data) == self.digest else None

    def _wake(self) -> None:
        readers, self._readers = self._readers, []
        for reader in readers:
            if not reader.done():
                reader.set_result(None)


def deflate(data: bytes | memoryview) -> bytes:
    import zstandard  # 2 MB and 5 ms: only a slow link needs it

    return zstandard.ZstdCompressor(level=1).compress(data)


def inflate(wire: bytes, max_bytes: int) -> bytes | None:
    """None if it is not a zstd frame, or would be longer than max_bytes."""
    import zstandard

    try:
        # A frame may declare any size, and the library would allocate it.
        if zstandard.frame_content_size(wire) > max_bytes:
            return None
        return zstandard.ZstdDecompressor().decompress(wire, max_output_size=max_bytes)
    except zstandard.ZstdError:
        return None
