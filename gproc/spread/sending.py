"""Feeding a node: the chunks that it wants, at the pace at which it takes them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Final, Protocol

from gproc.content.manifest import CHUNK_BYTES, Digest
from gproc.errors import PeerError, StoreError
from gproc.link.connection import Link
from gproc.spread.fetching import BundleFetcher
from gproc.spread.incoming import deflate
from gproc.store.partial import Owner
from gproc.wire import frames
from gproc.wire.messages import Unavailable, Want

SLOW_BYTES_PER_S: Final = 60e6
"""Below this pace a link gains by compression: zstd level 1 makes some 400 MB/s of a core here and wins a half on
programs, so that at 1 Gbit/s (125 MB/s) its core is worth more elsewhere."""

WORTH: Final = 0.9
"""A chunk that does not shrink to this is sent as it is."""

REMEMBERED: Final = 8
"""Compressed chunks kept for the next who wants them: compressed once, however many are fed."""

MAX_WANTED: Final = 4096
"""Chunks that one link may want at a time: each bundle that it fetches has `spread.scheduling.OUTSTANDING` of them, so
a thousand bundles at once; and 1 MB here."""


class Compressed:
    """The wire forms of chunks that were worth it; b"" of those that were not."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, bytes] = OrderedDict()

    def of(self, digest: bytes, data: bytes) -> bytes:
        known = self._known.get(digest)
        if known is None:
            known = deflate(data)
            if len(known) > WORTH * len(data):
                known = b""
            self._known[digest] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known


class ChunkProvider(Protocol):
    """Where a feed takes from."""

    fetcher: BundleFetcher
    compressed: Compressed
    own: Owner


class ChunkSender:
    """One link's wants, served in order as far as they are at hand.

    What is passed on while it comes keeps the wire form that it has; what lies here in full is compressed where the
    link was measured to be slow.
    """

    def __init__(self, provider: ChunkProvider, link: Link) -> None:
        self._provider = provider
        self._link = link
        self._wanted: dict[tuple[bytes, bytes], None] = {}
        self._woken = asyncio.Event()
        self._byte_s = 0.0
        self._task = asyncio.create_task(self._serve())

    def want(self, message: Want) -> None:
        """Raises: PeerError where that is more than anybody needs at a time."""
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
        """The first that is at hand, and where nothing is, whatever comes first."""
        fetcher = self._provider.fetcher
        while True:
            for bundle, digest in self._wanted:
                if fetcher.at_hand(bundle, digest) or not fetcher.under_way(bundle):
                    return bundle, digest
            await fetcher.change()

    async def _send(self, bundle: bytes, digest: bytes) -> bool:
        """Whether all of it was sent: what is on its way here may have to come from another source, and later."""
        data = None if digest == bundle else self._provider.fetcher.store.read(Digest(digest))
        if data is None:
            ended = False
            async for piece in self._provider.fetcher.stream(bundle, digest, self._provider.own):
                self._link.write_piece(piece)
                ended = piece.is_last
                await self._link.drain()
            return ended
        begun_s = time.monotonic()
        compressed = self._provider.compressed.of(digest, data) if self._byte_s > 1 / SLOW_BYTES_PER_S else b""
        codec, wire = (frames.CODEC_ZSTD, compressed) if compressed else (frames.CODEC_RAW, data)
        for piece in frames.pieces(digest, codec, wire):
            self._link.write_piece(piece)
            await self._link.drain()
        self._measure(len(wire), time.monotonic() - begun_s)
        return True

    def _measure(self, sent: int, took_s: float) -> None:
        """What the link takes: of chunks that were here, so that it is no other link's pace.

        Times are averaged, not paces: the kernel's buffers take a first chunk of any link in no time, and what looks
        like a gigabyte a second would outweigh ten chunks that come after it.
        """
        if sent >= CHUNK_BYTES // 4:
            byte_s = took_s / sent
            self._byte_s = byte_s if not self._byte_s else (3 * self._byte_s + byte_s) / 4
