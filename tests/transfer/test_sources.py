"""A bundle of several sources, some of which lie, push, skip or stay silent."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES, File, Manifest, digest_of, encode
from gproc.errors import StoreError
from gproc.spread.fetching import INLINE_BYTES, BundleFetcher
from gproc.spread.transfer import Source, Transfer
from gproc.store.partial import Owner
from gproc.store.store import Root, Store
from gproc.wire import frames
from tests.loop import TIMEOUT_S, run

OWN = Owner(os.geteuid(), os.getegid())


class Goods:
    """A bundle of so many chunks."""

    def __init__(self, chunks: int) -> None:
        self.data = os.urandom(CHUNK_BYTES * chunks)
        pieces = [self.data[begin : begin + CHUNK_BYTES] for begin in range(0, len(self.data), CHUNK_BYTES)]
        digests = [digest_of(piece) for piece in pieces]
        encoded = encode(
            Manifest(b"", b"", (), (), (), (0, 0), (File(b"/x", 0o644, 0, 0, len(self.data), 0, b"".join(digests)),))
        )
        self.bundle = digest_of(encoded)
        self.chunks: dict[bytes, bytes] = dict(zip(digests, pieces, strict=True))
        self.shelf: dict[bytes, bytes] = {self.bundle: encoded, **self.chunks}


class Honest:
    """Gives what it is asked for, in the next turn of the event loop."""

    def __init__(self, *goods: Goods) -> None:
        self.asked: Counter[bytes] = Counter()
        self.fetcher: BundleFetcher
        self._shelf = {digest: data for each in goods for digest, data in each.shelf.items()}

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        self.asked.update(digests)
        asyncio.get_running_loop().call_soon(self.answer, digests)

    def answer(self, digests: Sequence[bytes]) -> None:
        for digest in digests:
            for piece in self.wire(digest):
                self.fetcher.on_piece(self, piece)

    def wire(self, digest: bytes) -> list[frames.Piece]:
        return list(frames.pieces(digest, frames.CODEC_RAW, self._shelf[digest]))


class Skipping(Honest):
    """Leaves the second piece of each chunk out, the first time that it is asked for it."""

    def wire(self, digest: bytes) -> list[frames.Piece]:
        pieces = super().wire(digest)
        return pieces if len(pieces) < 3 or self.asked[digest] > 1 else [pieces[0], *pieces[2:]]


class Flipping(Honest):
    def wire(self, digest: bytes) -> list[frames.Piece]:
        first, *rest = super().wire(digest)
        return [first._replace(data=bytes([first.data[0] ^ 1]) + bytes(first.data[1:])), *rest]


class Silent(Honest):
    def answer(self, digests: Sequence[bytes]) -> None:
        """Says nothing."""


class Pushing(Silent):
    """Sends junk under the names of what it was not asked for."""

    def __init__(self, *goods: Goods) -> None:
        super().__init__(*goods)
        self.pushed = set(self._shelf)

    def answer(self, digests: Sequence[bytes]) -> None:
        for digest in self.pushed - set(self.asked):
            self.fetcher.on_piece(self, frames.Piece(digest, 4, 0, frames.CODEC_RAW, b"junk"))


def supply_of(place: Path, above: Honest, *others: Honest) -> BundleFetcher:
    fetcher = BundleFetcher(Store(str(place)), above)
    for source in (above, *others):
        source.fetcher = fetcher
    return fetcher


async def fetched(fetcher: BundleFetcher, goods: Goods, *siblings: tuple[Source, tuple[int, ...]]) -> Root:
    class AtOnce:
        def begin(self, transfer: Transfer) -> None:
            for source, stripes in siblings:
                transfer.add(source, stripes)

    return await fetcher.root(goods.bundle, OWN, AtOnce())


def content(root: Root) -> bytes:
    with open(root.tree + b"/x", "rb") as file:
        return file.read()


@pytest.mark.parametrize("kind", [Honest, Flipping, Skipping, Silent, Pushing])
def test_a_bundle_comes_whole_whatever_a_sibling_does(tmp_path: Path, kind: type[Honest]) -> None:
    goods = Goods(12)
    above, sibling, other = Honest(goods), kind(goods), Honest(goods)

    async def work() -> None:
        fetcher = supply_of(tmp_path, above, sibling, other)
        assert content(await fetched(fetcher, goods, (sibling, (0,)), (other, (1,)))) == goods.data

    run(work())


def test_a_sibling_that_sent_a_corrupt_chunk_is_asked_for_nothing_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    goods = Goods(24)
    above, sibling = Honest(goods), Flipping(goods)

    async def work() -> None:
        fetcher = supply_of(tmp_path, above, sibling)
        assert content(await fetched(fetcher, goods, (sibling, (0, 1)))) == goods.data

    run(work())
    assert sibling.asked.total() <= 4
    assert "sent a corrupt chunk: done without it" in caplog.text


def test_the_parent_is_asked_again_for_a_chunk_of_which_it_skipped_a_piece(tmp_path: Path) -> None:
    goods = Goods(1)
    above = Skipping(goods)

    async def work() -> None:
        assert content(await supply_of(tmp_path, above).root(goods.bundle, OWN)) == goods.data

    run(work())
    assert [above.asked[digest] for digest in goods.chunks] == [2]


def test_a_sibling_of_one_job_cannot_spoil_the_bundle_of_another(tmp_path: Path) -> None:
    """It knows the names of the other's chunks and manifest, and sends junk as these."""
    goods, others = Goods(4), Goods(4)
    above, pushing = Honest(goods, others), Pushing(others)
    pushing._shelf |= goods.shelf

    async def work() -> None:
        fetcher = supply_of(tmp_path, above, pushing)
        both = await asyncio.gather(fetched(fetcher, goods, (pushing, (0, 1))), fetcher.root(others.bundle, OWN))
        assert [content(root) for root in both] == [goods.data, others.data]

    run(work())
    assert above.asked[others.bundle] == 1


def test_what_a_node_passes_on_is_never_a_corrupt_chunk_to_its_end(tmp_path: Path) -> None:
    """A child that is fed while a hostile sibling feeds this node blames nobody but that sibling."""
    goods = Goods(4)
    above, sibling = Honest(goods), Flipping(goods)

    async def work() -> None:
        fetcher = supply_of(tmp_path, above, sibling)
        making = asyncio.create_task(fetched(fetcher, goods, (sibling, (0, 1))))
        for digest, data in goods.chunks.items():
            received = bytearray()
            while received != data:
                async for piece in fetcher.stream(goods.bundle, digest, OWN):
                    received[piece.offset :] = piece.data
                    assert len(received) < piece.total or received == data
        await making

    run(work())


class Half(Honest):
    """Gives the first half of what it is asked for; what has one piece is whole."""

    def answer(self, digests: Sequence[bytes]) -> None:
        pieces = self.wire(digests[0])
        for piece in pieces[: (len(pieces) + 1) // 2]:
            self.fetcher.on_piece(self, piece)


def test_who_is_fed_with_half_a_chunk_gets_it_from_the_next_source_as_it_comes(tmp_path: Path) -> None:
    """The first source is done without in mid-chunk: nobody waits until the chunk is whole here."""
    goods = Goods(1)
    (digest,) = goods.chunks
    above, sibling = Half(goods), Half(goods)

    async def work() -> None:
        fetcher = supply_of(tmp_path, above, sibling)
        making = asyncio.create_task(fetched(fetcher, goods, (sibling, (0, 1))))
        fed: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

        async def feed() -> None:
            while True:
                async for piece in fetcher.stream(goods.bundle, digest, OWN):
                    fed.put_nowait(("piece", piece.offset))
                fed.put_nowait(("end", 0))

        sources_by_child = asyncio.create_task(feed())
        offsets = [piece.offset for piece in frames.pieces(digest, frames.CODEC_RAW, goods.data)]
        half = [("piece", offset) for offset in offsets[: (len(offsets) + 1) // 2]]
        assert [await fed.get() for _ in half] == half
        fetcher.on_unavailable(sibling, goods.bundle, "it is gone")
        assert await fed.get() == ("end", 0)
        assert [await fed.get() for _ in half] == half
        assert above.asked[digest] == 1
        sources_by_child.cancel()
        making.cancel()

    run(work())


def test_a_large_root_of_a_former_run_is_hashed_beside_the_event_loop(tmp_path: Path) -> None:
    goods = Goods(INLINE_BYTES // CHUNK_BYTES + 1)
    above = Honest(goods)

    async def before() -> None:
        await supply_of(tmp_path, above).root(goods.bundle, OWN)

    async def after() -> None:
        fetcher = supply_of(tmp_path, above)
        check, checked, may_go_on = fetcher.store.check, threading.Semaphore(0), threading.Event()

        def slow_check(bundle: bytes, owner: Owner) -> None:
            assert may_go_on.wait(TIMEOUT_S)
            check(bundle, owner)
            checked.release()

        fetcher.store.check = slow_check  # type: ignore[method-assign]
        roots = asyncio.gather(*(fetcher.root(goods.bundle, OWN) for _ in range(3)))
        await asyncio.sleep(0)
        may_go_on.set()
        first, *others = await roots
        assert all(root is first for root in others)
        assert checked.acquire(blocking=False) and not checked.acquire(blocking=False)

    run(before())
    run(after())
    assert above.asked.total() == len(goods.shelf)


def test_a_fault_of_ours_ends_the_transfer_with_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    goods = Goods(1)

    async def work() -> None:
        fetcher = supply_of(tmp_path, Honest(goods))
        fetcher.store.commit = lambda partial: 1 // 0  # type: ignore[method-assign, assignment, return-value]
        with pytest.raises(StoreError, match="cannot receive the bundle"):
            await fetcher.root(goods.bundle, OWN)

    run(work())
    assert "this is a bug in gproc" in caplog.text
