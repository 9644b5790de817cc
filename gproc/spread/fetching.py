"""How a node gets a bundle: it asks its sources once for each chunk that its store lacks, for all jobs that need it.

A slave, a relay and the master all do the same.  Only their sources differ: the parent, peers for a large bundle, and
for the master the client that submitted it.  Receivers of this node get each piece of a chunk as it arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from gproc.content.manifest import CHUNK_BYTES, Digest, Manifest
from gproc.errors import BundleError, GprocError, StoreError
from gproc.shown import reason_of
from gproc.spread.arrivals import Arrivals
from gproc.spread.checks import Checks
from gproc.spread.contents import Contents, decoded, stripes_of
from gproc.spread.holding import Making, Served
from gproc.spread.incoming import Parts
from gproc.spread.scheduling import ChunkScheduler
from gproc.spread.transfer import Helpers, Source, Transfer
from gproc.store.partial import Owner, PartialBundle
from gproc.store.root import Root
from gproc.store.store import Store
from gproc.store.twins import lay_out
from gproc.wire import frames
from gproc.wire.frames import MAX_BLOB_BYTES, Piece

log = logging.getLogger("gproc")

MAX_CORRUPT: Final = 3
"""A transfer fails after more than this many corrupt chunks from upstream."""

REVIEW_S: Final = 0.25
"""How often a transfer checks whether a source lags."""


class BundleFetcher:
    """Provides roots and chunks on demand."""

    def __init__(self, store: Store, upstream: Source, replace: Callable[[bytes], bool] = lambda _: False) -> None:
        """upstream: the source that every bundle can come from.

        replace: called with the bundle if the upstream sent wrong bytes; returns whether it has another source to ask
        now.
        """
        self.store = store
        self._upstream = upstream
        self._replace = replace
        self._making: dict[tuple[bytes, Owner], Making] = {}
        self._transfers: dict[bytes, Transfer] = {}
        self._arrivals = Arrivals()
        self._checks = Checks(store)
        self._served = Served()
        self._contents = Contents()
        self._changed: asyncio.Future[None] | None = None

    async def root(self, bundle: bytes, owner: Owner, helpers: Helpers | None = None) -> Root:
        """The bundle, complete and verified; fetched if it is not here.  It is held: the caller releases it.

        Concurrent callers share one transfer.  Raises: StoreError.
        """
        await self._checks.check(bundle, owner)
        making, transfer = self._making.get((bundle, owner)), self._transfers.get(bundle)
        if making is None or (transfer is not None and transfer.failure is not None):  # this one ends without it
            root = self.store.held(bundle, owner)
            if root is not None:
                return root
            making = self._start(bundle, owner, helpers)
        try:
            return await making.taken()
        except OSError as error:
            raise StoreError(f"cannot keep the bundle: {reason_of(error)}") from error

    def is_available(self, bundle: bytes, digest: bytes) -> bool:
        """Whether `stream` would begin at once."""
        if digest == bundle:
            transfer = self._transfers.get(bundle)
            return self.store.manifest(bundle) is not None or (transfer is not None and transfer.encoded.done())
        if not self.belongs(bundle, digest):
            return False
        return self.store.holds(Digest(digest)) or digest in self._arrivals

    def belongs(self, bundle: bytes, digest: bytes) -> bool:
        """Whether a bundle that is here or being received has this chunk: its receivers get no other chunk."""
        if not self._contents.knows(bundle):
            transfer = self._transfers.get(bundle)
            partial = None if transfer is None else transfer.partial
            manifest = self.store.content(bundle) if partial is None else partial.manifest
            if manifest is None:
                return False
            self._contents.learn(bundle, manifest)
        return self._contents.has(bundle, digest)

    def received_bytes(self, bundle: bytes) -> int:
        """How much is here of a bundle that is being fetched; 0 for any other bundle."""
        transfer = self._transfers.get(bundle)
        return 0 if transfer is None or transfer.partial is None else transfer.partial.received_bytes()

    def missing_bytes(self, bundle: bytes) -> list[int]:
        """How much of each stripe is missing of a bundle that is being fetched; empty if that is not known."""
        transfer = self._transfers.get(bundle)
        if transfer is None or transfer.scheduler is None:
            return []
        return transfer.missing_bytes(self._arrivals.filled())

    def is_fetching(self, bundle: bytes) -> bool:
        """Whether a transfer of the bundle is running: `change` returns when it makes progress."""
        return bundle in self._transfers

    def demand(self, wanted: Iterable[tuple[bytes, bytes]]) -> None:
        """Note that receivers wait for these (bundle, digest).  Here whole bundles are fetched without hints."""

    async def change(self) -> None:
        """Wait until another chunk may be available."""
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    async def stream(self, bundle: bytes, digest: bytes, owner: Owner) -> AsyncIterator[Piece]:
        """A chunk for a receiver of this node; if `digest` is the bundle's own, its manifest.

        Waits until the chunk begins to arrive, and yields pieces as they come.  Ends early if the chunk's source
        is given up.  Raises: StoreError.
        """
        while True:
            if (data := self.complete(bundle, digest)) is not None:
                for piece in frames.pieces(digest, frames.CODEC_RAW, data):
                    yield piece
                return
            arrival = self._arrivals.any(digest)
            if arrival is not None and (digest == bundle or self.belongs(bundle, digest)):
                async for piece in arrival.pieces():
                    yield piece
                return
            await self._checks.check(bundle, owner)
            if bundle not in self._transfers and (bundle, owner) not in self._making:
                if self.store.find(bundle, owner) is not None:
                    if self.complete(bundle, digest) is not None:
                        continue  # another process has put the bundle here
                    raise StoreError("the requested chunk is not in its bundle")
                self._start(bundle, owner, None)
            if (transfer := self._transfers.get(bundle)) is None:  # it begins when another one has ended
                await self.change()
                continue
            if transfer.partial is not None and digest not in transfer.partial.missing:
                if self.complete(bundle, digest) is not None:
                    continue  # it came while the disk was asked
                raise StoreError("the requested chunk is not in its bundle")
            self.demand([(bundle, digest)])
            await self.change()
            if transfer.failure is not None:
                raise StoreError(transfer.failure)

    def on_piece(self, source: Source, piece: Piece) -> None:
        """Take a piece that a source was asked for.  The chunk is kept when it is complete and has the right digest."""
        transfer = self._expecting(source, piece.digest)
        if transfer is None:
            return
        if transfer.scheduler is not None:
            transfer.scheduler.heard(source, time.monotonic())
        max_bytes = MAX_BLOB_BYTES if piece.digest == transfer.bundle else CHUNK_BYTES
        arrival, is_new = self._arrivals.of(piece.digest, source, max_bytes)
        if is_new:
            self.wake()
        if not arrival.add(piece):
            return
        content = arrival.finish()
        self._arrivals.forget(piece.digest, source if content is None else None)
        if piece.digest == transfer.bundle:
            self._take_manifest(transfer, content)
        elif content is None:
            self._take_corrupt(transfer, source, piece.digest)
        else:
            self._take_chunk(transfer, source, Digest(piece.digest), content)
        transfer.progress.set()
        self.wake()

    def on_unavailable(self, source: Source, bundle: bytes, reason: str) -> None:
        """A source does not have (all of) this bundle.  If it is the parent, the transfer fails; a peer is dropped."""
        transfer = self._transfers.get(bundle)
        if transfer is None:
            return
        if source is self._upstream:
            transfer.fail(reason)
        elif transfer.scheduler is not None:
            self.remove_source(transfer, source)

    def remove_source(self, transfer: Transfer, source: Source) -> None:
        """Drop a peer.  Receivers that got half of a chunk from it need not wait for the rest."""
        transfer.remove(source)
        self._arrivals.forget_source(source)
        self.wake()

    def on_source_lost(self, source: Source, reason: str) -> None:
        """A source is gone.  Transfers wait for another parent (`on_source_back`); a peer is dropped."""
        for transfer in list(self._transfers.values()):
            if source is not self._upstream:
                self.on_unavailable(source, transfer.bundle, reason)
            elif transfer.scheduler is not None:
                self.remove_source(transfer, source)
        self.wake()

    def on_source_back(self, bundle: bytes) -> None:
        """There is a parent again that gives this bundle: ask it for what the former one did not send."""
        transfer = self._transfers.get(bundle)
        if transfer is None:
            return
        if not transfer.encoded.done():
            self._arrivals.forget(bundle, None)
            self._upstream.ask(bundle, (bundle,))
        elif transfer.scheduler is not None:
            self.remove_source(transfer, self._upstream)
            transfer.add(self._upstream, ())

    def complete(self, bundle: bytes, digest: bytes) -> bytes | None:
        """A chunk of the bundle that is here in full, or its manifest; None if it is not."""
        if digest != bundle:
            data = self.store.read(Digest(digest)) if self.belongs(bundle, digest) else None
            if data is not None:
                self._served.keep(bundle, lambda: self.store.any_root(bundle))
            return data
        transfer = self._transfers.get(bundle)
        if transfer is not None and transfer.encoded.done() and transfer.failure is None:
            return transfer.encoded.result()
        return self.store.manifest(bundle)

    def _expecting(self, source: Source, digest: bytes) -> Transfer | None:
        """The transfer for which this source was asked for this chunk."""
        for transfer in self._transfers.values():
            if digest == transfer.bundle:
                return None if transfer.encoded.done() or source is not self._upstream else transfer
            if transfer.scheduler is not None and transfer.scheduler.expects(source, digest):
                return transfer
        return None

    def _start(self, bundle: bytes, owner: Owner, helpers: Helpers | None) -> Making:
        """Make a root.  Two owners' roots of one bundle are made in turn: the second finds the chunks in the store."""
        before = [making.task for (digest, _), making in self._making.items() if digest == bundle]
        if not before:
            self._begin_transfer(bundle)
        making = self._making[bundle, owner] = Making(asyncio.create_task(self._make(bundle, owner, helpers, before)))
        making.task.add_done_callback(lambda done: self._made(bundle, owner, making, done))
        return making

    def _begin_transfer(self, bundle: bytes) -> None:
        self._transfers[bundle] = Transfer(bundle)
        self.wake()

    def _end_transfer(self, bundle: bytes, error: BaseException | None) -> None:
        transfer = self._transfers.pop(bundle, None)
        if transfer is not None and error is not None:
            transfer.fail(str(error))
            for digest in [bundle] if transfer.partial is None else list(transfer.partial.missing):
                self._arrivals.forget(digest, None)

    def _made(self, bundle: bytes, owner: Owner, making: Making, done: asyncio.Task[Root]) -> None:
        if self._making[bundle, owner] is making:  # else a next one waits for this one
            del self._making[bundle, owner]
        error = StoreError("stopped") if done.cancelled() else done.exception()
        self._end_transfer(bundle, error)
        if error is None and not making.is_awaited:
            self._served.keep(bundle, done.result)
        making.settle()
        self.wake()

    async def _make(
        self, bundle: bytes, owner: Owner, helpers: Helpers | None, before: list[asyncio.Task[Root]]
    ) -> Root:
        """Raises: StoreError for every failure: a job that waits for its root must learn of it."""
        try:
            return await self._receive(bundle, owner, helpers, before)
        except StoreError:
            raise
        except Exception as error:
            if not isinstance(error, OSError | GprocError):
                log.exception("this is a bug in gproc")
            raise StoreError(f"cannot receive the bundle: {reason_of(error)}") from error

    async def _receive(
        self, bundle: bytes, owner: Owner, helpers: Helpers | None, before: list[asyncio.Task[Root]]
    ) -> Root:
        if before:
            await asyncio.wait(before)
            self._begin_transfer(bundle)
        transfer = self._transfers[bundle]
        await asyncio.to_thread(self.store.look)
        self.store.take_in()
        encoded = self.store.manifest(bundle)
        if encoded is None:
            self._upstream.ask(bundle, (bundle,))
            encoded = await asyncio.shield(transfer.encoded)
        elif not transfer.encoded.done():  # else it has failed meanwhile
            transfer.encoded.set_result(encoded)
        try:
            manifest = await decoded(encoded)
        except BundleError as error:
            raise StoreError(str(error)) from error
        return await self._fetch(transfer, manifest, encoded, owner, helpers)

    async def _fetch(
        self, transfer: Transfer, manifest: Manifest, encoded: bytes, owner: Owner, helpers: Helpers | None
    ) -> Root:
        """Fetch the files that the manifest names."""
        partial = self.store.partial(manifest, encoded, owner)
        try:
            await self._begin(transfer, partial)
            if partial.missing:
                await self._fill(transfer, partial, helpers)
            if partial.is_large:
                await asyncio.to_thread(partial.finish)
            return await self._keep(partial, transfer.bundle)
        finally:
            self.store.abandon(partial)

    async def _keep(self, partial: PartialBundle, bundle: bytes) -> Root:
        """Make it a root, unless another process that shares the store was faster."""
        await self._checks.check(bundle, partial.owner)
        root = self.store.held(bundle, partial.owner)
        if root is not None:
            self.store.drop(partial)
        return root or self.store.commit(partial)

    async def _begin(self, transfer: Transfer, partial: PartialBundle) -> None:
        """Lay the bundle out.  Chunks that are here already can be sent to receivers from now on."""
        if self.store.is_removing:
            await asyncio.to_thread(self.store.finish_removals)
        if partial.is_large:
            await asyncio.to_thread(lay_out, self.store, partial)
        else:
            partial.lay_out(self.store.read)
        for digest, location in partial.present.items():
            self.store.offer(digest, location)
        transfer.partial = partial
        self.wake()

    async def _fill(self, transfer: Transfer, partial: PartialBundle, helpers: Helpers | None) -> None:
        """Ask for missing chunks until none is missing."""
        scheduler = transfer.begin(partial, stripes_of(partial.manifest))
        if helpers is not None:
            helpers.begin(transfer)
        scheduler.add(self._upstream, ())
        while partial.missing:
            transfer.check()
            transfer.progress.clear()
            self._ask_sources(transfer, scheduler)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REVIEW_S):
                    await transfer.progress.wait()

    def _ask_sources(self, transfer: Transfer, scheduler: ChunkScheduler[Source]) -> None:
        for source, digests in scheduler.ask(time.monotonic()).items():
            self._ask(transfer, source, digests)

    def _ask(self, transfer: Transfer, source: Source, digests: tuple[bytes, ...]) -> None:
        try:
            source.ask(transfer.bundle, digests)
        except StoreError as error:
            self.on_unavailable(source, transfer.bundle, str(error))

    def _take_manifest(self, transfer: Transfer, content: Parts | None) -> None:
        if content is not None:
            transfer.encoded.set_result(b"".join(content))
        elif self._replace(transfer.bundle):
            self._ask(transfer, self._upstream, (transfer.bundle,))
        else:
            transfer.fail("the parent sent a manifest that does not have the requested digest")

    def _take_corrupt(self, transfer: Transfer, source: Source, digest: bytes) -> None:
        """Handle a chunk with a wrong digest.  A peer is dropped; the parent may send `MAX_CORRUPT` of them."""
        assert transfer.scheduler is not None
        if source is not self._upstream:
            log.warning("%s sent a corrupt chunk: its chunks come from other sources now", source)
            self.remove_source(transfer, source)
            return
        transfer.scheduler.corrupt(source, digest)
        if self._replace(transfer.bundle):
            return
        transfer.corrupt += 1
        if transfer.corrupt > MAX_CORRUPT:
            transfer.fail(f"{transfer.corrupt} chunks arrived corrupt")

    def _take_chunk(self, transfer: Transfer, source: Source, digest: Digest, content: Parts) -> None:
        assert transfer.partial is not None and transfer.scheduler is not None
        try:
            if transfer.partial.admit(digest, content):
                self.store.offer(digest, transfer.partial.present[digest])
                transfer.kept(digest, transfer.partial.present[digest][2])
        except StoreError as error:
            transfer.unkept = str(error)
        transfer.scheduler.arrived(source, digest, time.monotonic())

    def wake(self) -> None:
        """Make callers of `change` look again."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
