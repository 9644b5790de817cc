"""A bundle from several sources, some of which lie, send unasked, skip pieces or stay silent."""

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
from gproc.spread.fetching import BundleFetcher
from gproc.spread.transfer import Source, Transfer
from gproc.store.partial import INLINE_BYTES, Owner
from gproc.store.root import Root
from gproc.store.store import Store
from gproc.wire import frames
from tests.loop import run
from tests.patience import PATIENCE_S

OWN = Owner(os.geteuid(), os.getegid())


class SampleBundle:
    """A bundle of a given number of chunks."""

    def __init__(self, chunks: int) -> None:
        self.data = os.urandom(CHUNK_BYTES * chunks)
        pieces = [self.data[begin : begin + CHUNK_BYTES] for begin in range(0, len(self.data), CHUNK_BYTES)]
        digests = [digest_of(piece) for piece in pieces]
        encoded = encode(
            Manifest(b"", b"", (), (), (), (0, 0), (File(b"/x", 0o644, 0, 0, len(self.data), 0, b"".join(digests)),))
        )
        self.bundle = digest_of(encoded)
        self.chunks: dict[bytes, bytes] = dict(zip(digests, pieces, strict=True))
        self.blobs: dict[bytes, bytes] = {self.bundle: encoded, **self.chunks}


class Honest:
    """Answers with the right chunks, in the next turn of the event loop."""

    def __init__(self, *bundles: SampleBundle) -> None:
        self.asked: Counter[bytes] = Counter()
        self.fetcher: BundleFetcher
        self.blobs = {digest: data for each in bundles for digest, data in each.blobs.items()}

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        self.asked.update(digests)
        asyncio.get_running_loop().call_soon(self.answer, digests)

    def answer(self, digests: Sequence[bytes]) -> None:
        for digest in digests:
            for piece in self.wire(digest):
                self.fetcher.on_piece(self, piece)

    def wire(self, digest: bytes) -> list[frames.Piece]:
        return list(frames.pieces(digest, frames.CODEC_RAW, self.blobs[digest]))


class Skipping(Honest):
    """Leaves out the second piece of each chunk, the first time that it is asked for the chunk."""

    def wire(self, digest: bytes) -> list[frames.Piece]:
        pieces = super().wire(digest)
        return pieces if len(pieces) < 3 or self.asked[digest] > 1 else [pieces[0], *pieces[2:]]


class Flipping(Honest):
    def wire(self, digest: bytes) -> list[frames.Piece]:
        first, *rest = super().wire(digest)
        return [first._replace(data=bytes([first.data[0] ^ 1]) + bytes(first.data[1:])), *rest]


class Silent(Honest):
    def answer(self, digests: Sequence[bytes]) -> None:
        """Sends nothing."""


class Pushing(Silent):
    """Sends junk under the digests that it was not asked for."""

    def __init__(self, *bundles: SampleBundle) -> None:
        super().__init__(*bundles)
        self.pushed = set(self.blobs)

    def answer(self, digests: Sequence[bytes]) -> None:
        for digest in self.pushed - set(self.asked):
            self.fetcher.on_piece(self, frames.Piece(digest, 4, 0, frames.CODEC_RAW, b"junk"))


def fetcher_of(place: Path, parent: Honest, *peers: Honest) -> BundleFetcher:
    fetcher = BundleFetcher(Store(str(place)), parent)
    for source in (parent, *peers):
        source.fetcher = fetcher
    return fetcher


async def fetched(fetcher: BundleFetcher, sample: SampleBundle, *peers: tuple[Source, tuple[int, ...]]) -> Root:
    class AtOnce:
        def begin(self, transfer: Transfer) -> None:
            for source, stripes in peers:
                transfer.add(source, stripes)

    return await fetcher.root(sample.bundle, OWN, AtOnce())


def content(root: Root) -> bytes:
    with open(root.tree + b"/x", "rb") as file:
        return file.read()


@pytest.mark.parametrize("kind", [Honest, Flipping, Skipping, Silent, Pushing])
def test_a_bundle_arrives_complete_no_matter_what_a_peer_does(tmp_path: Path, kind: type[Honest]) -> None:
    sample = SampleBundle(12)
    parent, peer, other = Honest(sample), kind(sample), Honest(sample)

    async def work() -> None:
        fetcher = fetcher_of(tmp_path, parent, peer, other)
        assert content(await fetched(fetcher, sample, (peer, (0,)), (other, (1,)))) == sample.data

    run(work())


def test_a_peer_that_sent_a_corrupt_chunk_is_asked_for_nothing_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sample = SampleBundle(24)
    parent, peer = Honest(sample), Flipping(sample)

    async def work() -> None:
        fetcher = fetcher_of(tmp_path, parent, peer)
        assert content(await fetched(fetcher, sample, (peer, (0, 1)))) == sample.data

    run(work())
    assert peer.asked.total() <= 4
    assert "sent a corrupt chunk: its chunks come from other sources now" in caplog.text


def test_the_parent_is_asked_again_for_a_chunk_of_which_it_skipped_a_piece(tmp_path: Path) -> None:
    sample = SampleBundle(1)
    parent = Skipping(sample)

    async def work() -> None:
        assert content(await fetcher_of(tmp_path, parent).root(sample.bundle, OWN)) == sample.data

    run(work())
    assert [parent.asked[digest] for digest in sample.chunks] == [2]


def test_a_peer_of_one_job_cannot_spoil_the_bundle_of_another(tmp_path: Path) -> None:
    """The peer knows the digests of the other bundle, and sends junk under them."""
    sample, others = SampleBundle(4), SampleBundle(4)
    parent, pushing = Honest(sample, others), Pushing(others)
    pushing.blobs |= sample.blobs

    async def work() -> None:
        fetcher = fetcher_of(tmp_path, parent, pushing)
        both = await asyncio.gather(fetched(fetcher, sample, (pushing, (0, 1))), fetcher.root(others.bundle, OWN))
        assert [content(root) for root in both] == [sample.data, others.data]

    run(work())
    assert parent.asked[others.bundle] == 1


def test_a_node_never_passes_on_the_last_piece_of_a_corrupt_chunk(tmp_path: Path) -> None:
    """If it did, its receivers would blame it for what a hostile peer sent."""
    sample = SampleBundle(4)
    parent, peer = Honest(sample), Flipping(sample)

    async def work() -> None:
        fetcher = fetcher_of(tmp_path, parent, peer)
        making = asyncio.create_task(fetched(fetcher, sample, (peer, (0, 1))))
        for digest, data in sample.chunks.items():
            received = bytearray()
            while received != data:
                async for piece in fetcher.stream(sample.bundle, digest, OWN):
                    received[piece.offset :] = piece.data
                    assert len(received) < piece.total or received == data
        await making

    run(work())


class Half(Honest):
    """Sends the first half of each chunk; a chunk of one piece is complete."""

    def answer(self, digests: Sequence[bytes]) -> None:
        pieces = self.wire(digests[0])
        for piece in pieces[: (len(pieces) + 1) // 2]:
            self.fetcher.on_piece(self, piece)


def test_a_receiver_of_half_a_chunk_gets_it_again_from_the_next_source_as_it_comes(tmp_path: Path) -> None:
    """The first source is dropped in mid-chunk.  The receiver need not wait until the chunk is complete here."""
    sample = SampleBundle(1)
    (digest,) = sample.chunks
    parent, peer = Half(sample), Half(sample)

    async def work() -> None:
        fetcher = fetcher_of(tmp_path, parent, peer)
        making = asyncio.create_task(fetched(fetcher, sample, (peer, (0, 1))))
        passed_on: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

        async def pass_on() -> None:
            while True:
                async for piece in fetcher.stream(sample.bundle, digest, OWN):
                    passed_on.put_nowait(("piece", piece.offset))
                passed_on.put_nowait(("end", 0))

        passing_on = asyncio.create_task(pass_on())
        offsets = [piece.offset for piece in frames.pieces(digest, frames.CODEC_RAW, sample.data)]
        half = [("piece", offset) for offset in offsets[: (len(offsets) + 1) // 2]]
        assert [await passed_on.get() for _ in half] == half
        fetcher.on_unavailable(peer, sample.bundle, "it is gone")
        assert await passed_on.get() == ("end", 0)
        assert [await passed_on.get() for _ in half] == half
        assert parent.asked[digest] == 1
        passing_on.cancel()
        making.cancel()

    run(work())


def test_a_large_root_of_a_former_run_is_hashed_outside_the_event_loop(tmp_path: Path) -> None:
    sample = SampleBundle(INLINE_BYTES // CHUNK_BYTES + 1)
    parent = Honest(sample)

    async def before() -> None:
        await fetcher_of(tmp_path, parent).root(sample.bundle, OWN)

    async def after() -> None:
        fetcher = fetcher_of(tmp_path, parent)
        check, checked, may_go_on = fetcher.store.check, threading.Semaphore(0), threading.Event()

        def slow_check(bundle: bytes, owner: Owner) -> None:
            assert may_go_on.wait(PATIENCE_S)
            check(bundle, owner)
            checked.release()

        fetcher.store.check = slow_check  # type: ignore[method-assign]
        roots = asyncio.gather(*(fetcher.root(sample.bundle, OWN) for _ in range(3)))
        await asyncio.sleep(0)
        may_go_on.set()
        first, *others = await roots
        assert all(root is first for root in others)
        assert checked.acquire(blocking=False) and not checked.acquire(blocking=False)

    run(before())
    run(after())
    assert parent.asked.total() == len(sample.blobs)


def test_a_bug_of_our_own_ends_the_transfer_with_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sample = SampleBundle(1)

    async def work() -> None:
        fetcher = fetcher_of(tmp_path, Honest(sample))
        fetcher.store.commit = lambda partial: 1 // 0  # type: ignore[method-assign, assignment, return-value]
        with pytest.raises(StoreError, match="cannot receive the bundle"):
            await fetcher.root(sample.bundle, OWN)

    run(work())
    assert "this is a bug in gproc" in caplog.text
