"""One bundle on its way into a store: what of it is missing, and who is asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from gproc.errors import StoreError
from gproc.spread.scheduling import STRIPES, ChunkScheduler
from gproc.store.partial import PartialBundle, chunk_length


class Source(Protocol):
    """Someone who can be asked for chunks.  The answer comes in by `BundleFetcher.on_piece`, with the same source."""

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        """Raises: StoreError where they cannot be asked (any more)."""


class Helpers(Protocol):
    """Siblings that feed us, of whom a transfer makes use where it finds that something is missing here."""

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
        self._missing_bytes: list[int] = []

    def begin(self, partial: PartialBundle, stripes: Mapping[bytes, int]) -> ChunkScheduler[Source]:
        """What is missing is known now, and of which stripe each chunk is: 0 for those that are not named."""
        self._missing_bytes = [0] * STRIPES
        for digest, places in partial.missing.items():
            self._missing_bytes[stripes.get(digest, 0)] += chunk_length(*places[0])
        self.scheduler = ChunkScheduler(partial.missing, lambda digest: stripes.get(digest, 0))
        return self.scheduler

    def kept(self, digest: bytes, length: int) -> None:
        assert self.scheduler is not None
        self._missing_bytes[self.scheduler.stripe_of(digest)] -= length

    def expect(self, stripes: Iterable[int]) -> None:
        """Of these, sources are about to be added: nobody else is asked for them."""
        assert self.scheduler is not None
        self.scheduler.expected = frozenset(stripes)
        self.progress.set()

    def add(self, source: Source, stripes: Iterable[int]) -> None:
        assert self.scheduler is not None
        self.scheduler.add(source, stripes)
        self.progress.set()

    def remove(self, source: Source) -> None:
        """What was asked of it is asked of others."""
        assert self.scheduler is not None
        self.scheduler.remove(source)
        self.progress.set()

    def missing_bytes(self) -> list[int]:
        """Of each stripe, but for what is half here; empty where that is not known yet."""
        return list(self._missing_bytes)

    def fail(self, reason: str) -> None:
        self.failure = reason
        self.progress.set()
        if not self.encoded.done():
            self.encoded.set_exception(StoreError(reason))
            self.encoded.exception()
