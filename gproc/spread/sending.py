"""Sending chunks to one node: the chunks that it wants, at the rate at which it takes them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final, Protocol

from gproc.content.manifest import CHUNK_BYTES
from gproc.errors import PeerError, StoreError
from gproc.link.connection import Link
from gproc.spread.fetching import BundleFetcher
from gproc.spread.incoming import deflate
from gproc.store.partial import Owner
from gproc.wire import frames
from gproc.wire.messages import Unavailable, Want

SLOW_BYTES_PER_S: Final = 60e6
"""Compression pays below this rate.  Level 1 of zstd compresses some 400 MB/s on one core here, and programs shrink to
half.  At 1 Gbit/s (125 MB/s) the processor time is worth more elsewhere."""

MAX_RATIO: Final = 0.9
"""A chunk that does not shrink to this fraction is sent uncompressed."""

REMEMBERED: Final = 8
"""Compressed chunks kept for the next receiver, so that each is compressed once."""

MAX_WANTED: Final = 4096
"""Chunks that one link may want at a time.  A node wants `spread.scheduling.OUTSTANDING` chunks of each bundle that it
fetches, so this is enough for a thousand bundles at once; it costs 1 MB here."""


class Compressed:
    """The compressed form of chunks; b"" for a chunk that does not shrink."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, bytes] = OrderedDict()

    def of(self, digest: bytes, data: bytes) -> bytes:
        known = self._known.get(digest)
        if known is None:
            known = deflate(data)
            if len(known) > MAX_RATIO * len(data):
                known = b""
            self._known[digest] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known


class ChunkProvider(Protocol):
    """The node that a sender takes chunks from."""

    compressed: Compressed
    own: Owner

    @property
    def fetcher(self) -> BundleFetcher: ...


class ChunkSender:
    """Sends one link the chunks that it wants, in order, as soon as each is available.

    A chunk that is still arriving is passed on in its present form.  A chunk that is here in full is compressed if the
    link was measured to be slow.
    """

    def __init__(self, provider: ChunkProvider, link: Link) -> None:
        self._provider = provider
        self._link = link
        self._wanted: dict[tuple[bytes, bytes], None] = {}
        self._woken = asyncio.Event()
        self._s_per_byte = 0.0
        self._task = asyncio.create_task(self._serve())

    def want(self, message: Want) -> None:
        """Raises: PeerError if the link wants more than `MAX_WANTED` chunks at a time."""
        if len(self._wanted) + len(message.digests) > MAX_WANTED:
            raise PeerError(f"it wants more than {MAX_WANTED} chunks at a time")
        for digest in message.digests:
            self._wanted[message.bundle, digest] = None
        self._woken.set()
        self._provider.fetcher.wake()

    def stop(self) -> None:
        self._task.cancel()

    async def _serve(self) -> None:
        while True:
            if not self._wanted:
                self._woken.clear()
                await self._woken.wait()
            bundle, digest = await self._choose()
            del self._wanted[bundle, digest]
            try:
                if not await self._send(bundle, digest):
                    self._wanted = {(bundle, digest): None} | self._wanted
            except StoreError as error:
                self._link.send(Unavailable(bundle, (digest,), str(error)))

    async def _choose(self) -> tuple[bytes, bytes]:
        """The first wanted chunk that is available; waits until there is one."""
        fetcher = self._provider.fetcher
        while True:
            fetcher.demand(self._wanted)
            for bundle, digest in self._wanted:
                if fetcher.is_available(bundle, digest) or not fetcher.is_fetching(bundle):
                    return bundle, digest
            await fetcher.change()

    async def _send(self, bundle: bytes, digest: bytes) -> bool:
        """Send one chunk.  Returns False if it ended early because its source stopped: it must be sent again."""
        data = None if digest == bundle else self._provider.fetcher.complete(bundle, digest)
        if data is None:
            ended = False
            async for piece in self._provider.fetcher.stream(bundle, digest, self._provider.own):
                self._link.write_piece(piece)
                ended = piece.is_last
                await self._link.drain()
            return ended
        start_s = time.monotonic()
        compressed = self._provider.compressed.of(digest, data) if self._s_per_byte > 1 / SLOW_BYTES_PER_S else b""
        codec, wire = (frames.CODEC_ZSTD, compressed) if compressed else (frames.CODEC_RAW, data)
        for piece in frames.pieces(digest, codec, wire):
            self._link.write_piece(piece)
            await self._link.drain()
        self._measure(len(wire), time.monotonic() - start_s)
        return True

    def _measure(self, sent_bytes: int, took_s: float) -> None:
        """Measure the link by chunks that were here in full: others arrive at the rate of another link.

        Seconds per byte are averaged, not bytes per second.  The kernel's buffers take the first chunk in no time, and
        its gigabyte per second would outweigh ten later chunks.
        """
        if sent_bytes >= CHUNK_BYTES // 4:
            s_per_byte = took_s / sent_bytes
            self._s_per_byte = s_per_byte if not self._s_per_byte else (3 * self._s_per_byte + s_per_byte) / 4
