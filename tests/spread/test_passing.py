"""A node whose store cannot keep a bundle passes it on to the nodes that want it, and tries again for the next job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gproc.content.manifest import Digest
from gproc.errors import StoreError
from gproc.spread import passing
from gproc.spread.passing import PassingFetcher
from gproc.store.partial import PartialBundle
from gproc.store.store import Store
from tests.loop import run
from tests.spread.test_fetching import BLOBS, BUNDLE, CHUNKS, DATA, OWN, Upstream, chunk, content


class FullAfterOne(PartialBundle):
    """The disk has room for one chunk."""

    def admit(self, digest: Digest, content: Sequence[bytes | memoryview]) -> bool:
        if self.present and digest in self.missing:
            raise StoreError("the disk is full")
        return super().admit(digest, content)


class FullStore(Store):
    is_full = True

    def partial(self, *asked: Any) -> PartialBundle:
        partial = super().partial(*asked)
        if self.is_full:
            partial.__class__ = FullAfterOne
        return partial


class Node:
    """A fetcher with such a store.  is_wanted: whether nodes below may want the bundle."""

    def __init__(self, place: Path) -> None:
        self.is_wanted = True
        self.store = FullStore(str(place))
        self.upstream = Upstream(BLOBS)
        self.fetcher = self.upstream.fetcher = PassingFetcher(self.store, self.upstream, lambda _: self.is_wanted)

    async def received(self) -> list[bytes]:
        """What a receiver of this node gets."""
        return [await chunk(self.fetcher, BUNDLE, digest) for digest in BLOBS]


def test_receivers_get_all_of_a_bundle_that_the_store_cannot_keep(tmp_path: Path) -> None:
    async def work() -> None:
        node = Node(tmp_path)
        root, *received = await asyncio.gather(
            node.fetcher.root(BUNDLE, OWN), node.received(), node.received(), return_exceptions=True
        )
        assert str(root) == "the disk is full"
        assert received == [list(BLOBS.values())] * 2
        assert await node.received() == list(BLOBS.values())
        assert max(node.upstream.asked.values()) <= 2

    run(work())


def test_a_chunk_that_is_on_its_way_when_the_disk_is_full_is_not_asked_for_twice(tmp_path: Path) -> None:
    async def work() -> None:
        node = Node(tmp_path)
        node.upstream.silent = True
        making = asyncio.create_task(node.fetcher.root(BUNDLE, OWN))
        await node.upstream.until_asked(BUNDLE)
        node.upstream.answer(BUNDLE, (BUNDLE,))
        await node.upstream.until_asked(CHUNKS[2])
        node.upstream.answer(BUNDLE, tuple(CHUNKS[:2]))
        with pytest.raises(StoreError, match="the disk is full"):
            await making
        receiving = asyncio.create_task(chunk(node.fetcher, BUNDLE, CHUNKS[2]))
        await asyncio.sleep(0)
        node.upstream.answer(BUNDLE, (CHUNKS[2],))
        assert await receiving == BLOBS[CHUNKS[2]]
        assert node.upstream.asked[CHUNKS[2]] == 1

    run(work())


def test_when_there_is_room_the_next_job_keeps_it_and_receivers_go_on(tmp_path: Path) -> None:
    async def work() -> None:
        node = Node(tmp_path)
        with pytest.raises(StoreError):
            await node.fetcher.root(BUNDLE, OWN)
        node.upstream.silent = True
        receiving = asyncio.create_task(node.received())
        await node.upstream.until_asked(CHUNKS[0])
        node.upstream.silent = node.store.is_full = False
        assert content(await node.fetcher.root(BUNDLE, OWN)) == DATA
        assert await receiving == list(BLOBS.values())

    run(work())


def test_no_source_is_not_hidden_by_a_full_disk(tmp_path: Path) -> None:
    async def work() -> None:
        node = Node(tmp_path)
        with pytest.raises(StoreError, match="the disk is full"):
            await node.fetcher.root(BUNDLE, OWN)
        node.upstream.silent = True
        receiving = asyncio.create_task(chunk(node.fetcher, BUNDLE, CHUNKS[1]))
        await asyncio.sleep(0)
        node.fetcher.on_unavailable(node.upstream, BUNDLE, "the client is gone")
        with pytest.raises(StoreError, match="the client is gone"):
            await receiving

    run(work())


def test_nothing_is_left_when_nobody_wants_it_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "SERVED_S", 0.01)

    async def work() -> None:
        node = Node(tmp_path)
        with pytest.raises(StoreError):
            await node.fetcher.root(BUNDLE, OWN)
        assert await node.received() == list(BLOBS.values())
        assert node.fetcher.is_fetching(BUNDLE)
        (task,) = node.fetcher._tasks.values()
        node.is_wanted = False
        await asyncio.wait({task})
        assert not node.fetcher.is_fetching(BUNDLE)
        assert node.fetcher._recent_bytes == len(node.fetcher._recent) == len(node.fetcher._passing) == 0

    run(work())


def test_a_leaf_passes_nothing_on(tmp_path: Path) -> None:
    async def work() -> None:
        node = Node(tmp_path)
        node.is_wanted = False
        with pytest.raises(StoreError, match="the disk is full"):
            await node.fetcher.root(BUNDLE, OWN)
        assert not node.fetcher.is_fetching(BUNDLE)

    run(work())
