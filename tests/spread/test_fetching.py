"""A node fetches a bundle once for all jobs that wait for it, and accepts no wrong chunk from any source."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES, Directory, Entry, File, Manifest, digest_of, encode
from gproc.errors import StoreError
from gproc.spread.checks import Checks
from gproc.spread.fetching import MAX_CORRUPT, BundleFetcher
from gproc.store.partial import Owner
from gproc.store.root import Root
from gproc.store.store import Store
from gproc.wire import frames
from tests.loop import run

OWN = Owner(os.geteuid(), os.getegid())
OTHER_USER = Owner(4711, 4712) if os.geteuid() == 0 else Owner(os.geteuid(), 4712)
DATA = os.urandom(2 * CHUNK_BYTES + 5)


def bundle_with(data: bytes, *more: Entry) -> dict[bytes, bytes]:
    """The manifest and chunks of a bundle, by digest; the manifest first."""
    pieces = [data[begin : begin + CHUNK_BYTES] for begin in range(0, len(data), CHUNK_BYTES)]
    chunks: dict[bytes, bytes] = {digest_of(piece): piece for piece in pieces}
    file = File(b"/gproc-test", 0o644, 0, 0, len(data), 0, b"".join(digest_of(piece) for piece in pieces))
    encoded = encode(Manifest(b"", b"", (), (), (), (0, 0), (file, *more)))
    return {digest_of(encoded): encoded, **chunks}


BLOBS = bundle_with(DATA)
BUNDLE, *CHUNKS = BLOBS


class Upstream:
    """Answers in the next turn of the event loop; a subclass can change what it sends by `spoil`."""

    def __init__(self, blobs: dict[bytes, bytes]) -> None:
        self.blobs = blobs
        self.asked: Counter[bytes] = Counter()
        self.fetcher: BundleFetcher
        self.silent = False
        self.refuses = ""
        self._was_asked = asyncio.Event()

    async def until_asked(self, digest: bytes) -> None:
        while not self.asked[digest]:
            self._was_asked.clear()
            await self._was_asked.wait()

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        if self.refuses:
            raise StoreError(self.refuses)
        self.asked.update(digests)
        self._was_asked.set()
        if not self.silent:
            asyncio.get_running_loop().call_soon(self.answer, bundle, digests)

    def answer(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        for digest in digests:
            if digest not in self.blobs:
                self.fetcher.on_unavailable(self, bundle, "never heard of it")
                return
            for piece in frames.pieces(digest, frames.CODEC_RAW, self.spoil(digest, self.blobs[digest])):
                self.fetcher.on_piece(self, piece)

    def spoil(self, digest: bytes, data: bytes) -> bytes:
        return data


class FlippingOnce(Upstream):
    """The first answer for the first chunk has one wrong bit."""

    def spoil(self, digest: bytes, data: bytes) -> bytes:
        if digest == BUNDLE or self.asked[digest] > 1 or digest != CHUNKS[0]:
            return data
        return bytes([data[0] ^ 1]) + data[1:]


class Shortening(Upstream):
    def spoil(self, digest: bytes, data: bytes) -> bytes:
        return data if digest == BUNDLE else data[:-1]


class Forging(Upstream):
    def spoil(self, digest: bytes, data: bytes) -> bytes:
        return data + b"\0" if digest == BUNDLE else data


def fetcher_of(place: Path, upstream: Upstream) -> BundleFetcher:
    upstream.fetcher = BundleFetcher(Store(str(place)), upstream)
    return upstream.fetcher


async def chunk(fetcher: BundleFetcher, bundle: bytes, digest: bytes) -> bytes:
    """The chunk as a receiver of this node would get it."""
    return b"".join([bytes(piece.data) async for piece in fetcher.stream(bundle, digest, OWN)])


def content(root: Root) -> bytes:
    with open(root.tree + b"/gproc-test", "rb") as file:
        return file.read()


def test_jobs_at_the_same_time_share_one_transfer(tmp_path: Path) -> None:
    async def work() -> None:
        upstream = Upstream(BLOBS)
        fetcher = fetcher_of(tmp_path, upstream)
        roots = await asyncio.gather(*(fetcher.root(BUNDLE, OWN) for _ in range(5)))
        assert all(root is roots[0] for root in roots)
        assert content(roots[0]) == DATA
        assert upstream.asked == Counter(dict.fromkeys(BLOBS, 1))
        assert await fetcher.root(BUNDLE, OWN) is roots[0]
        assert upstream.asked.total() == len(BLOBS)

    run(work())


def test_two_owners_of_one_bundle_at_once_have_a_root_each_and_share_the_transfer(tmp_path: Path) -> None:
    async def work() -> None:
        upstream = Upstream(BLOBS)
        fetcher = fetcher_of(tmp_path, upstream)
        ours, theirs = await asyncio.gather(fetcher.root(BUNDLE, OWN), fetcher.root(BUNDLE, OTHER_USER))
        assert ours.tree != theirs.tree
        assert content(ours) == content(theirs) == DATA
        assert upstream.asked == Counter(dict.fromkeys(BLOBS, 1))

    run(work())


def test_receivers_of_this_node_share_its_transfer_and_get_the_same_chunks(tmp_path: Path) -> None:
    async def work() -> None:
        upstream = Upstream(BLOBS)
        fetcher = fetcher_of(tmp_path, upstream)
        wanted = [digest for _ in range(3) for digest in BLOBS]
        got = await asyncio.gather(*(chunk(fetcher, BUNDLE, digest) for digest in wanted), fetcher.root(BUNDLE, OWN))
        assert list(got[:-1]) == [BLOBS[digest] for digest in wanted]
        assert upstream.asked == Counter(dict.fromkeys(BLOBS, 1))

    run(work())


async def begun(place: Path) -> tuple[Upstream, BundleFetcher, asyncio.Task[Root]]:
    """A transfer whose manifest has come, and that waits for the chunks."""
    upstream = Upstream(BLOBS)
    upstream.silent = True
    fetcher = fetcher_of(place, upstream)
    making = asyncio.create_task(fetcher.root(BUNDLE, OWN))
    await upstream.until_asked(BUNDLE)
    upstream.answer(BUNDLE, (BUNDLE,))
    await upstream.until_asked(CHUNKS[0])
    return upstream, fetcher, making


def test_a_chunk_that_comes_while_the_disk_is_asked_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its receiver was told that the chunk is not in its bundle, and the job there ended with 125: once in 5,000."""

    async def work() -> None:
        upstream, fetcher, making = await begun(tmp_path)

        async def slow(self: Checks, bundle: bytes, owner: Owner) -> None:
            monkeypatch.undo()
            upstream.answer(BUNDLE, (CHUNKS[0],))

        monkeypatch.setattr(Checks, "check", slow)
        assert await chunk(fetcher, BUNDLE, CHUNKS[0]) == BLOBS[CHUNKS[0]]
        upstream.answer(BUNDLE, tuple(CHUNKS[1:]))
        assert content(await making) == DATA

    run(work())


def test_a_chunk_is_passed_on_before_all_of_it_is_here(tmp_path: Path) -> None:
    async def work() -> None:
        upstream, fetcher, making = await begun(tmp_path)
        stream = fetcher.stream(BUNDLE, CHUNKS[0], OWN)
        for piece in frames.pieces(CHUNKS[0], frames.CODEC_RAW, BLOBS[CHUNKS[0]]):
            fetcher.on_piece(upstream, piece)
            passed_on = await anext(stream)
            assert (passed_on.offset, bytes(passed_on.data)) == (piece.offset, piece.data)
        upstream.answer(BUNDLE, tuple(CHUNKS[1:]))
        assert content(await making) == DATA

    run(work())


def test_a_flipped_bit_is_found_and_the_chunk_is_asked_for_again(tmp_path: Path) -> None:
    async def work() -> None:
        upstream = FlippingOnce(BLOBS)
        assert content(await fetcher_of(tmp_path, upstream).root(BUNDLE, OWN)) == DATA
        assert upstream.asked[CHUNKS[0]] == 2

    run(work())


def test_a_source_that_goes_on_sending_wrong_chunks_is_given_up(tmp_path: Path) -> None:
    async def work() -> None:
        upstream = Shortening(BLOBS)
        fetcher = fetcher_of(tmp_path, upstream)
        waiting = asyncio.create_task(chunk(fetcher, BUNDLE, CHUNKS[0]))
        with pytest.raises(StoreError, match="corrupt"):
            await fetcher.root(BUNDLE, OWN)
        assert upstream.asked[CHUNKS[0]] <= MAX_CORRUPT + 1
        await asyncio.wait([waiting])
        assert fetcher.store.find(BUNDLE, OWN) is None

    run(work())


def test_a_manifest_that_is_not_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(StoreError, match="manifest"):
            await fetcher_of(tmp_path, Forging(BLOBS)).root(BUNDLE, OWN)

    run(work())


def test_a_hostile_manifest_ends_the_transfer_for_all_waiting_callers(tmp_path: Path) -> None:
    hostile = bundle_with(b"data", Directory(b"/../../etc", 0o755, 0, 0))
    bundle, digest = hostile

    async def work() -> None:
        fetcher = fetcher_of(tmp_path, Upstream(hostile))
        ended = await asyncio.gather(fetcher.root(bundle, OWN), chunk(fetcher, bundle, digest), return_exceptions=True)
        assert [type(error) for error in ended] == [StoreError, StoreError]
        assert "normalised" in str(ended[0])

    run(work())


def test_a_chunk_that_is_not_in_the_bundle_is_refused_before_and_after_the_bundle_came(tmp_path: Path) -> None:
    stranger = digest_of(b"stranger")

    async def work() -> None:
        fetcher = fetcher_of(tmp_path, Upstream(BLOBS))
        for _ in range(2):
            with pytest.raises(StoreError, match="not in its bundle"):
                await chunk(fetcher, BUNDLE, stranger)
            root = await fetcher.root(BUNDLE, OWN)
        assert fetcher.store.find(BUNDLE, OWN) is root

    run(work())


def test_asking_for_an_unknown_chunk_does_not_take_a_root_from_the_job_that_uses_it(tmp_path: Path) -> None:
    async def work() -> None:
        fetcher = fetcher_of(tmp_path, Upstream(BLOBS))
        root = await fetcher.root(BUNDLE, OWN)
        root.hold()
        with pytest.raises(StoreError):
            await chunk(fetcher, BUNDLE, digest_of(b"stranger"))
        assert fetcher.store.find(BUNDLE, OWN) is root
        assert content(root) == DATA

    run(work())


@pytest.mark.parametrize("how", ["lacking", "refused"])
def test_a_transfer_that_fails_wakes_all_waiting_callers_and_can_be_tried_again(tmp_path: Path, how: str) -> None:
    async def work() -> None:
        upstream = Upstream(BLOBS)
        fetcher = fetcher_of(tmp_path, upstream)
        if how == "lacking":
            upstream.blobs = {BUNDLE: BLOBS[BUNDLE], CHUNKS[0]: BLOBS[CHUNKS[0]]}
        else:
            upstream.refuses = "nobody is there"
        waiting = [
            asyncio.ensure_future(fetcher.root(BUNDLE, OWN)),
            asyncio.ensure_future(fetcher.root(BUNDLE, OWN)),
            asyncio.ensure_future(chunk(fetcher, BUNDLE, CHUNKS[1])),
        ]
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in ended] == [StoreError] * 3
        upstream.blobs, upstream.silent, upstream.refuses = BLOBS, False, ""
        before = upstream.asked[CHUNKS[0]]
        assert content(await fetcher.root(BUNDLE, OWN)) == DATA
        assert upstream.asked[CHUNKS[0]] == (before if how == "lacking" else before + 1)

    run(work())


def test_a_transfer_goes_on_with_another_parent(tmp_path: Path) -> None:
    async def work() -> None:
        upstream = Upstream(BLOBS)
        upstream.silent = True
        fetcher = fetcher_of(tmp_path, upstream)
        making = asyncio.ensure_future(fetcher.root(BUNDLE, OWN))
        await upstream.until_asked(BUNDLE)
        fetcher.on_source_lost(upstream, "the parent was lost")
        upstream.silent = False
        fetcher.on_source_back(BUNDLE)
        assert content(await making) == DATA

    run(work())


def test_a_root_that_was_tampered_with_is_fetched_again(tmp_path: Path) -> None:
    async def work() -> None:
        upstream = Upstream(BLOBS)
        fetcher = fetcher_of(tmp_path, upstream)
        root = await fetcher.root(BUNDLE, OWN)
        os.truncate(root.tree + b"/gproc-test", 7)
        again = await fetcher.root(BUNDLE, OWN)
        assert content(again) == DATA
        assert upstream.asked[CHUNKS[0]] == 2

    run(work())


def test_a_chunk_that_went_bad_here_is_fetched_again_for_a_receiver(tmp_path: Path) -> None:
    async def work() -> None:
        fetcher = fetcher_of(tmp_path, Upstream(BLOBS))
        root = await fetcher.root(BUNDLE, OWN)
        os.truncate(root.tree + b"/gproc-test", 7)
        assert await chunk(fetcher, BUNDLE, CHUNKS[1]) == BLOBS[CHUNKS[1]]

    run(work())


def test_pieces_that_this_node_did_not_ask_for_are_dropped(tmp_path: Path) -> None:
    async def work() -> None:
        upstream = Upstream(BLOBS)
        fetcher = fetcher_of(tmp_path, upstream)
        for digest, data in BLOBS.items():
            for piece in frames.pieces(digest, frames.CODEC_RAW, data):
                fetcher.on_piece(upstream, piece)
        assert not any(fetcher.is_available(BUNDLE, digest) for digest in BLOBS)

    run(work())
