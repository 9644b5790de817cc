"""How a node comes by a bundle: what its store lacks is asked of the node above, once, whoever needs it here.

The same on a slave, a relay and the master; only who is "above" differs (the master's above is the client that
brought the bundle).  A chunk can be had by this node's children as soon as it is here and verified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gproc.bundle import manifest as manifests
from gproc.bundle.manifest import CHUNK_BYTES, Digest, Manifest, digest_of
from gproc.errors import StoreError
from gproc.store.draft import Draft, Owner
from gproc.store.store import Root, Store

WINDOW_CHUNKS: Final = 32
"""Chunks of one bundle asked for and not yet here: enough to keep a 1 GB/s link busy at 30 ms."""

MAX_CORRUPT: Final = 3
"""Corrupt chunks of one bundle after which the node above is not asked again."""

INLINE_BYTES: Final = 8 << 20
"""A bundle up to this size is laid out in the event loop: some 10 ms.  A larger one in a thread."""

Ask = Callable[[bytes, tuple[bytes, ...]], None]
"""(bundle, digests): ask the node above.  Raises StoreError where there is none."""


class _Transfer:
    """One bundle on its way into this store."""

    def __init__(self, bundle: bytes) -> None:
        self.bundle = bundle
        self.encoded: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.draft: Draft | None = None
        self.asked: set[bytes] = set()
        self.corrupt = 0
        self.progress = asyncio.Event()
        self.failure: str | None = None

    def fail(self, reason: str) -> None:
        self.failure = reason
        self.progress.set()
        if not self.encoded.done():
            self.encoded.set_exception(StoreError(reason))
            self.encoded.exception()


class Supply:
    """Roots and chunks on demand.  `ask` reaches the node above; what it answers comes in by `on_chunk`."""

    def __init__(self, store: Store, ask: Ask) -> None:
        self.store = store
        self._ask = ask
        self._making: dict[tuple[bytes, Owner], asyncio.Task[Root]] = {}
        self._transfers: dict[bytes, _Transfer] = {}
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}

    async def root(self, bundle: bytes, owner: Owner) -> Root:
        """The bundle, complete and verified, fetched where it must be.

        Callers at the same time share one transfer.  Raises: StoreError.
        """
        making = self._making.get((bundle, owner))
        if making is None:
            root = self.store.find(bundle, owner)
            if root is not None:
                return root
            making = self._start(bundle, owner)
        return await asyncio.shield(making)

    async def chunk(self, bundle: bytes, digest: bytes, owner: Owner) -> bytes:
        """One chunk, or the manifest for the bundle's own digest, for a child; waits until it is here.

        Raises: StoreError.
        """
        if digest == bundle:
            encoded = self.store.manifest(bundle)
            if encoded is not None:
                return encoded
            self._ensure(bundle, owner)
            return await asyncio.shield(self._transfers[bundle].encoded)
        data = self.store.read(Digest(digest))
        if data is not None:
            return data
        self._ensure(bundle, owner)
        waiting = self._waiting.get(digest)
        if waiting is None:
            waiting = self._waiting[digest] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(waiting)

    def on_chunk(self, digest: bytes, data: memoryview) -> None:
        """What the node above sent: kept where it was asked for, and is what it says it is."""
        genuine = digest_of(data) == digest
        transfer = self._transfers.get(digest)
        if transfer is not None and not transfer.encoded.done():
            if genuine:
                transfer.encoded.set_result(bytes(data))
            else:
                transfer.fail("the manifest that came does not have the digest that was asked for")
            return
        for transfer in list(self._transfers.values()):
            if digest not in transfer.asked:
                continue
            transfer.asked.discard(digest)
            transfer.progress.set()
            if not genuine:
                transfer.corrupt += 1
                if transfer.corrupt > MAX_CORRUPT:
                    transfer.fail(f"{transfer.corrupt} corrupt chunks came from above")
            elif transfer.draft is not None:
                self._keep(transfer, Digest(digest), data)

    def on_lacking(self, bundle: bytes, reason: str) -> None:
        """The node above cannot give this bundle."""
        transfer = self._transfers.get(bundle)
        if transfer is not None:
            transfer.fail(reason)

    def on_cut_off(self, reason: str) -> None:
        """There is no node above any more; what was received is kept for the next try."""
        for transfer in list(self._transfers.values()):
            transfer.fail(reason)

    def _ensure(self, bundle: bytes, owner: Owner) -> None:
        """See that a transfer of the bundle is under way."""
        if bundle not in self._transfers:
            self._start(bundle, owner)

    def _start(self, bundle: bytes, owner: Owner) -> asyncio.Task[Root]:
        """Make a root.  Two of one bundle for two owners follow each other: the second finds its chunks here."""
        before = [making for (digest, _), making in self._making.items() if digest == bundle]
        if not before:
            self._transfers[bundle] = _Transfer(bundle)
        making = asyncio.create_task(self._make(bundle, owner, before))
        self._making[bundle, owner] = making
        making.add_done_callback(lambda done: self._made(bundle, owner, done))
        return making

    def _made(self, bundle: bytes, owner: Owner, done: asyncio.Task[Root]) -> None:
        del self._making[bundle, owner]
        self._transfers.pop(bundle, None)
        failure: BaseException | None = StoreError("stopped") if done.cancelled() else done.exception()
        for digest, waiting in list(self._waiting.items()):
            if self._expected(digest):
                continue
            del self._waiting[digest]
            if not waiting.done():
                waiting.set_exception(failure or StoreError("a chunk was asked for that is not in its bundle"))
                waiting.exception()

    def _expected(self, digest: bytes) -> bool:
        """Whether some transfer may still bring this chunk."""
        return any(
            transfer.draft is None or digest in transfer.draft.missing for transfer in self._transfers.values()
        )

    async def _make(self, bundle: bytes, owner: Owner, before: list[asyncio.Task[Root]]) -> Root:
        if before:
            await asyncio.wait(before)
            self._transfers[bundle] = _Transfer(bundle)
        transfer = self._transfers[bundle]
        encoded = self.store.manifest(bundle)
        if encoded is None:
            self._ask(bundle, (bundle,))
            encoded = await asyncio.shield(transfer.encoded)
        else:
            transfer.encoded.set_result(encoded)
        draft = await self._begin(transfer, manifests.decode(encoded), encoded, owner)
        await self._fill(transfer, draft)
        return self.store.commit(draft)

    async def _begin(self, transfer: _Transfer, manifest: Manifest, encoded: bytes, owner: Owner) -> Draft:
        draft = self.store.draft(manifest, encoded, owner)
        if manifest.size_bytes() <= INLINE_BYTES:
            draft.lay_out(self.store.read)
        else:
            await asyncio.get_running_loop().run_in_executor(None, draft.lay_out, self.store.read)
        for digest, location in draft.present.items():
            self.store.offer(digest, location)
            self._serve(digest, None)
        transfer.draft = draft
        return draft

    async def _fill(self, transfer: _Transfer, draft: Draft) -> None:
        """Ask for what is missing, a window at a time, until nothing is."""
        while draft.missing:
            if transfer.failure is not None:
                raise StoreError(transfer.failure)
            transfer.progress.clear()
            room = WINDOW_CHUNKS - len(transfer.asked)
            if room >= WINDOW_CHUNKS // 2:
                wanted: list[bytes] = []
                for digest in draft.missing:
                    if len(wanted) == room:
                        break
                    if digest not in transfer.asked:
                        wanted.append(digest)
                if wanted:
                    transfer.asked.update(wanted)
                    self._ask(transfer.bundle, tuple(wanted))
            await transfer.progress.wait()

    def _keep(self, transfer: _Transfer, digest: Digest, data: memoryview) -> None:
        assert transfer.draft is not None
        try:
            if transfer.draft.admit(digest, data):
                self.store.offer(digest, transfer.draft.present[digest])
                self._serve(digest, data)
        except StoreError as error:
            transfer.fail(str(error))

    def _serve(self, digest: Digest, data: memoryview | None) -> None:
        """Give a chunk to the children that wait for it."""
        waiting = self._waiting.pop(digest, None)
        if waiting is None or waiting.done():
            return
        found = bytes(data) if data is not None else self.store.read(digest)
        if found is None:
            waiting.set_exception(StoreError("a chunk was lost from the store"))
            waiting.exception()
        else:
            waiting.set_result(found)


assert CHUNK_BYTES * WINDOW_CHUNKS <= 32 << 20
