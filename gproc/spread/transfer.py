"""One bundle on its way into a store: the chunks that are missing, and the sources that are asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from gproc.errors import StoreError
from gproc.spread.scheduling import STRIPES, ChunkScheduler
from gproc.store.partial import PartialBundle, chunk_length


class Source(Protocol):
    """A node that can be asked for chunks.  Its answer goes to `BundleFetcher.on_piece`, with the same source."""

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        """Raises: StoreError if the source cannot be asked (any more)."""


class Helpers(Protocol):
    """Peers that can send us a bundle.  A transfer calls `begin` if it finds that chunks are missing."""

    def begin(self, transfer: Transfer) -> None: ...


class Transfer:
    """One bundle on its way into this store."""

    def __init__(self, bundle: bytes) -> None:
        self.bundle = bundle
        self.encoded: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.partial: PartialBundle | None = None
        self.scheduler: ChunkScheduler[Source] | None = None
        self.corrupt = 0
        self.progress = asyncio.Event()
        self.failure: str | None = None
        """Why no source gives the bundle."""
        self.unkept = ""
        """Why this store cannot keep the bundle.  Sources still give it."""
        self._missing_bytes: list[int] = []

    def begin(self, partial: PartialBundle, stripes: Mapping[bytes, int]) -> ChunkScheduler[Source]:
        """Start, now that the missing chunks are known.  stripes: of each chunk; 0 for chunks that it does not name."""
        self._missing_bytes = [0] * STRIPES
        for digest, places in partial.missing.items():
            self._missing_bytes[stripes.get(digest, 0)] += chunk_length(*places[0])
        self.scheduler = ChunkScheduler(partial.missing, lambda digest: stripes.get(digest, 0))
        return self.scheduler

    def kept(self, digest: bytes, length: int) -> None:
        assert self.scheduler is not None
        self._missing_bytes[self.scheduler.stripe_of(digest)] -= length

    def expect(self, stripes: Iterable[int]) -> None:
        """The sources of these stripes are about to be added: no other source is asked for them."""
        assert self.scheduler is not None
        self.scheduler.expected = frozenset(stripes)
        self.progress.set()

    def add(self, source: Source, stripes: Iterable[int]) -> None:
        assert self.scheduler is not None
        self.scheduler.add(source, stripes)
        self.progress.set()

    def remove(self, source: Source) -> None:
        """Ask other sources for its chunks."""
        assert self.scheduler is not None
        self.scheduler.remove(source)
        self.progress.set()

    def missing_bytes(self, arriving: Iterable[tuple[bytes, int]]) -> list[int]:
        """Bytes of each stripe; empty if that is not known yet.  arriving: how much is here of which chunks."""
        missing = list(self._missing_bytes)
        if self.scheduler is not None and self.partial is not None:
            for digest, filled in arriving:
                if digest in self.partial.missing:
                    missing[self.scheduler.stripe_of(digest)] -= filled
        return missing

    def check(self) -> None:
        """Raises: StoreError if the bundle cannot come into this store."""
        if reason := self.failure or self.unkept:
            raise StoreError(reason)

    def fail(self, reason: str) -> None:
        self.failure = reason
        self.progress.set()
        if not self.encoded.done():
            self.encoded.set_exception(StoreError(reason))
            self.encoded.exception()
