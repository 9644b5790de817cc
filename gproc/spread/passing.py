"""The master's fetcher: it passes a large copy on without keeping it, because its client is there while its job runs.

Most of the cost of a large copy is writing it (docs/benchmarks.md).  So the master asks the client for a chunk when a
child wants it, checks it, sends it to the child and forgets it.  All other bundles are kept, as on any node: the next
job with the same program needs no client for it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from gproc.content.manifest import Digest, Manifest
from gproc.errors import StoreError
from gproc.spread.fetching import BundleFetcher
from gproc.spread.holding import Making
from gproc.spread.incoming import Parts
from gproc.spread.scheduling import ChunkScheduler
from gproc.spread.transfer import Helpers, Source, Transfer
from gproc.store.partial import Owner, PartialBundle
from gproc.store.root import Root
from gproc.store.store import Store

PASSED_BYTES_MIN: Final = 8 << 20
"""A smaller copy is kept: writing it takes some 10 ms."""

RECENT_BYTES: Final = 32 << 20
"""The most bytes of complete chunks that are kept for receivers: enough for eight receivers that asked for four chunks
each.  If a chunk is gone when its receiver is ready for it, the master asks the client again."""


class PassingFetcher(BundleFetcher):
    """A fetcher that keeps programs, and passes large copies on."""

    def __init__(self, store: Store, upstream: Source, replace: Callable[[bytes], bool]) -> None:
        super().__init__(store, upstream, replace)
        self._passing: dict[bytes, Transfer] = {}
        self._recent: OrderedDict[bytes, Parts] = OrderedDict()
        self._recent_bytes = 0
        self.transfers = 0
        """Bundles that were not here and came, or were passed on to the end."""
        self.transfer_s = 0.0
        """Seconds that these took together."""

    def _start(self, bundle: bytes, owner: Owner, helpers: Helpers | None) -> Making:
        began_s = time.monotonic()
        making = super()._start(bundle, owner, helpers)
        making.task.add_done_callback(lambda _: self._count(time.monotonic() - began_s))
        return making

    def _count(self, took_s: float) -> None:
        self.transfers += 1
        self.transfer_s += took_s

    def is_available(self, bundle: bytes, digest: bytes) -> bool:
        return (digest in self._recent and self.belongs(bundle, digest)) or super().is_available(bundle, digest)

    def missing_bytes(self, bundle: bytes) -> list[int]:
        return [] if bundle in self._passing else super().missing_bytes(bundle)

    def demand(self, wanted: Iterable[tuple[bytes, bytes]]) -> None:
        for bundle, digest in wanted:
            transfer = self._passing.get(bundle)
            if transfer is None or digest in self._recent or digest in self._arrivals:
                continue
            assert transfer.partial is not None and transfer.scheduler is not None
            if digest in transfer.partial.missing and transfer.scheduler.want(digest):
                transfer.progress.set()

    def complete(self, bundle: bytes, digest: bytes) -> bytes | None:
        parts = self._recent.get(digest) if self.belongs(bundle, digest) else None
        return super().complete(bundle, digest) if parts is None else b"".join(parts)

    async def _fetch(
        self, transfer: Transfer, manifest: Manifest, encoded: bytes, owner: Owner, helpers: Helpers | None
    ) -> Root:
        """Raises: StoreError always: nothing is kept.  A transfer ends with the last job that brought it."""
        if manifest.program or manifest.size_bytes() < PASSED_BYTES_MIN:
            return await super()._fetch(transfer, manifest, encoded, owner, helpers)
        partial = PartialBundle(b"", manifest, encoded, owner)  # never laid out: it only lists the chunks
        for file in manifest.files():
            for digest, offset, _ in file.chunks():
                partial.missing.setdefault(digest, []).append((file, offset))
        transfer.partial = partial
        transfer.scheduler = ChunkScheduler((), lambda _: 0)
        transfer.scheduler.add(self._upstream, ())
        self._passing[transfer.bundle] = transfer
        self.wake()
        try:
            while transfer.failure is None:
                transfer.progress.clear()
                self._ask_sources(transfer, transfer.scheduler)
                await transfer.progress.wait()
            raise StoreError(transfer.failure)
        finally:
            del self._passing[transfer.bundle]
            for digest in partial.missing:
                self._forget(digest)

    def _take_chunk(self, transfer: Transfer, source: Source, digest: Digest, content: Parts) -> None:
        if transfer.bundle not in self._passing:
            super()._take_chunk(transfer, source, digest, content)
            return
        assert transfer.scheduler is not None
        transfer.scheduler.arrived(source, digest, time.monotonic())
        self._forget(digest)
        self._recent[digest] = content
        self._recent_bytes += sum(map(len, content))
        while self._recent_bytes > RECENT_BYTES:
            self._forget(next(iter(self._recent)))

    def _forget(self, digest: bytes) -> None:
        self._recent_bytes -= sum(map(len, self._recent.pop(digest, ())))
