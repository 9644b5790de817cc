"""A fetcher that can pass a bundle on without keeping it.

A relay does so if its store cannot keep a bundle that nodes below it want: the disk is full, or fails, or the bundle is
larger than may be kept.  It refuses its own part of the job, and theirs need not be refused.  If the policy does not
let a user have the bundle in a store, all nodes are refused.

The master does so with large copies, because its client is there while its job runs.  Most of the cost of a large copy
is writing it (docs/benchmarks.md).  All other bundles are kept, as on any node: the next job with the same program
needs no client for it.

A chunk that is passed on is asked for when a receiver wants it, checked, sent and forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from gproc.content.manifest import Digest, Manifest
from gproc.errors import OverQuota, StoreError
from gproc.shown import reason_of
from gproc.spread.fetching import BundleFetcher
from gproc.spread.holding import SERVED_S, Making
from gproc.spread.incoming import Parts
from gproc.spread.scheduling import ChunkScheduler
from gproc.spread.transfer import Helpers, Source, Transfer
from gproc.store.partial import Owner, PartialBundle
from gproc.store.root import Root
from gproc.store.store import Store

log = logging.getLogger("gproc")

PASSED_BYTES_MIN: Final = 8 << 20
"""A smaller copy is kept: writing it takes some 10 ms."""

RECENT_BYTES: Final = 32 << 20
"""The most bytes of complete chunks that are kept for receivers: enough for eight receivers that asked for four chunks
each.  If a chunk is gone when its receiver is ready for it, the master asks the client again."""


def is_kept_by_master(manifest: Manifest) -> bool:
    """Whether the master keeps such a bundle for later jobs."""
    return bool(manifest.program) or manifest.size_bytes() < PASSED_BYTES_MIN


class PassingFetcher(BundleFetcher):
    """A fetcher that keeps bundles if it may and can, and passes others on."""

    def __init__(
        self, store: Store, upstream: Source, is_wanted: Callable[[bytes], bool],
        replace: Callable[[bytes], bool] = lambda _: False, is_kept: Callable[[Manifest], bool] = lambda _: True,
    ) -> None:  # fmt: skip
        """is_wanted: whether nodes below may want this bundle.  is_kept: whether such a bundle is to be kept here."""
        super().__init__(store, upstream, replace)
        self._is_wanted = is_wanted
        self._is_kept = is_kept
        self._passing: dict[bytes, Transfer] = {}
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        """The tasks that pass bundles on because the store cannot keep them."""
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
        """Fetch the chunks that receivers wait for, of bundles that are passed on."""
        if not self._passing:
            return
        for bundle, digest in wanted:
            transfer = self._passing.get(bundle)
            if transfer is None or digest in self._recent or digest in self._arrivals:
                continue
            assert transfer.partial is not None and transfer.scheduler is not None
            if digest not in transfer.partial.missing or self.store.holds(Digest(digest)):
                continue
            if transfer.scheduler.want(digest):
                transfer.progress.set()

    def complete(self, bundle: bytes, digest: bytes) -> bytes | None:
        parts = self._recent.get(digest) if self.belongs(bundle, digest) else None
        return super().complete(bundle, digest) if parts is None else b"".join(parts)

    async def _fetch(
        self, transfer: Transfer, manifest: Manifest, encoded: bytes, owner: Owner, helpers: Helpers | None
    ) -> Root:
        """Raises: StoreError if nothing is kept.  Then the passing on of the bundle has ended."""
        if not self._is_kept(manifest):
            self._pass_on(transfer, manifest, encoded, owner)
            await self._serve(transfer)  # until the last job that brought it has ended
            self._stop_passing(transfer.bundle)
            raise StoreError(transfer.failure)
        try:
            return await super()._fetch(transfer, manifest, encoded, owner, helpers)
        except OverQuota:
            raise  # the policy forbids it; it is not a lack of room
        except (StoreError, OSError) as error:
            if transfer.failure is None and self._is_wanted(transfer.bundle):
                name, reason = transfer.bundle.hex()[:16], reason_of(error) if isinstance(error, OSError) else error
                log.warning("bundle %s is passed on to nodes below and not kept here: %s", name, reason)
                self._pass_on(transfer, manifest, encoded, owner)
                self._tasks[transfer.bundle] = asyncio.create_task(self._serve_while_wanted(transfer))
            raise

    def _pass_on(self, transfer: Transfer, manifest: Manifest, encoded: bytes, owner: Owner) -> None:
        partial = PartialBundle(b"", manifest, encoded, owner)  # never laid out: it only lists the chunks
        for file in manifest.files():
            for digest, offset, _ in file.chunks():
                partial.missing.setdefault(digest, []).append((file, offset))
        transfer.partial = partial
        if transfer.scheduler is None:
            transfer.scheduler = ChunkScheduler((), lambda _: 0)
            transfer.scheduler.add(self._upstream, ())
        else:
            for source in transfer.scheduler.ask_only(self._upstream):
                self._arrivals.forget_source(source)
        self._passing[transfer.bundle] = transfer
        self.wake()

    async def _serve(self, transfer: Transfer) -> None:
        """Ask for what receivers want, until no source gives it any more."""
        assert transfer.scheduler is not None
        while transfer.failure is None:
            transfer.progress.clear()
            self._ask_sources(transfer, transfer.scheduler)
            await transfer.progress.wait()

    async def _serve_while_wanted(self, transfer: Transfer) -> None:
        """The same, until no receiver may want it any more."""
        assert transfer.partial is not None
        old: list[Digest] = []
        while transfer.failure is None and self._is_wanted(transfer.bundle):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SERVED_S):
                    await self._serve(transfer)
            for digest in old:
                self._forget(digest)
            old = [digest for digest in transfer.partial.missing if digest in self._recent]
        self._stop_passing(transfer.bundle)

    def _stop_passing(self, bundle: bytes) -> None:
        transfer, task = self._passing.pop(bundle, None), self._tasks.pop(bundle, None)
        if transfer is None:
            return
        assert transfer.partial is not None
        for digest in transfer.partial.missing:
            self._forget(digest)
            if task is not None:
                self._arrivals.forget(digest, None)
        if task is not None:
            task.cancel()
            del self._transfers[bundle]
            self.wake()  # receivers that still wait begin anew

    def _begin_transfer(self, bundle: bytes) -> None:
        self._stop_passing(bundle)  # there may be room for it now
        super()._begin_transfer(bundle)

    def _end_transfer(self, bundle: bytes, error: BaseException | None) -> None:
        if bundle not in self._passing:
            super()._end_transfer(bundle, error)

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
