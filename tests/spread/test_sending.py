"""A sender gives one link the chunks that it wants, compressed if that pays."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gproc.content.manifest import CHUNK_BYTES, File, Manifest, digest_of, encode
from gproc.errors import PeerError, StoreError
from gproc.link.connection import Link, Receiver
from gproc.spread import sending
from gproc.spread.fetching import BundleFetcher
from gproc.spread.incoming import deflate
from gproc.spread.sending import MAX_WANTED, REMEMBERED, ChunkSender, Compressed
from gproc.store.partial import Owner
from gproc.store.store import Store
from gproc.wire import frames, messages

TEXT = b"".join(b"%08d compressible\n" % number for number in range(4 * CHUNK_BYTES // 22))
NOISE = os.urandom(3 * CHUNK_BYTES)
OWN = Owner(os.geteuid(), os.getegid())


class NoUpstream:
    """A source that cannot be asked for anything."""

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        raise StoreError("nobody is there")


class NodeWithBundle:
    def __init__(self, place: Path, data: bytes) -> None:
        pieces = [data[begin : begin + CHUNK_BYTES] for begin in range(0, len(data), CHUNK_BYTES)]
        self.chunks: dict[bytes, bytes] = {digest_of(piece): piece for piece in pieces}
        file = File(b"/gproc-test", 0o644, 0, 0, len(data), 0, b"".join(digest_of(piece) for piece in pieces))
        manifest = Manifest(b"", b"", (), (), (), (0, 0), (file,))
        store = Store(str(place))
        partial = store.partial(manifest, encode(manifest), OWN)
        partial.lay_out(store.read)
        for piece in pieces:
            partial.admit(digest_of(piece), [piece])
        self.bundle = store.commit(partial).bundle
        self.fetcher = BundleFetcher(store, NoUpstream())
        self.compressed = Compressed()
        self.own = OWN


class FakeLink(Link):
    """Takes `rate` bytes a second by the clock of the test, and records what it was sent."""

    def __init__(self, clock: list[float], rate: float) -> None:
        super().__init__(frames.CHANNEL_BULK, Receiver())
        self.codecs: dict[bytes, int] = {}
        self.ended: set[bytes] = set()
        self.size = 0
        self.unavailable: list[messages.Unavailable] = []
        self.said = asyncio.Event()
        self._clock = clock
        self._rate = rate

    def write_piece(self, piece: frames.Piece) -> None:
        self.size += len(piece.data)
        self._clock[0] += len(piece.data) / self._rate
        self.codecs[piece.digest] = piece.codec
        if piece.offset + len(piece.data) == piece.total:
            self.ended.add(piece.digest)
        self.said.set()

    def send(self, message: messages.Message) -> None:
        assert isinstance(message, messages.Unavailable)
        self.unavailable.append(message)
        self.said.set()

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not enough():
                self.said.clear()
                await self.said.wait()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock by which the sender measures."""
    now = [0.0]

    class Time:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    monkeypatch.setattr(sending, "time", Time)
    return now


def sent_over(node: NodeWithBundle, clock: list[float], rate: float, links: int = 1) -> list[FakeLink]:
    """The links, one after the other, after the whole bundle went over each at this rate."""

    async def work() -> list[FakeLink]:
        return [await send_all(node, FakeLink(clock, rate)) for _ in range(links)]

    return asyncio.run(work())


async def send_all(node: NodeWithBundle, link: FakeLink) -> FakeLink:
    sender = ChunkSender(node, link)
    sender.want(messages.Want(node.bundle, tuple(node.chunks)))
    await link.until(lambda: link.ended == set(node.chunks))
    sender.stop()
    return link


def test_a_link_that_was_measured_to_be_slow_gets_compressible_chunks_compressed(
    tmp_path: Path, clock: list[float]
) -> None:
    (link,) = sent_over(NodeWithBundle(tmp_path, TEXT), clock, 6e6)
    first, *rest = link.codecs.values()
    assert first == frames.CODEC_RAW
    assert set(rest) == {frames.CODEC_ZSTD}
    assert link.size < 0.6 * len(TEXT)


def test_a_slow_link_gets_noise_uncompressed(tmp_path: Path, clock: list[float]) -> None:
    (link,) = sent_over(NodeWithBundle(tmp_path, NOISE), clock, 6e6)
    assert set(link.codecs.values()) == {frames.CODEC_RAW}


def test_a_fast_link_gets_nothing_compressed(tmp_path: Path, clock: list[float]) -> None:
    (link,) = sent_over(NodeWithBundle(tmp_path, TEXT), clock, 1e9)
    assert set(link.codecs.values()) == {frames.CODEC_RAW}


def test_a_chunk_is_compressed_once_for_all_receivers(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed: list[int] = []

    def counting(data: bytes) -> bytes:
        compressed.append(len(data))
        return deflate(data)

    monkeypatch.setattr(sending, "deflate", counting)
    node = NodeWithBundle(tmp_path, TEXT)
    assert len(node.chunks) < REMEMBERED
    sent_over(node, clock, 6e6, links=3)
    assert len(compressed) == len(node.chunks) - 1


def test_wanting_too_many_chunks_at_a_time_is_the_peers_fault(tmp_path: Path, clock: list[float]) -> None:
    node = NodeWithBundle(tmp_path, NOISE)
    digests = tuple(number.to_bytes(32, "big") for number in range(MAX_WANTED))

    async def work() -> None:
        sender = ChunkSender(node, FakeLink(clock, 1e9))
        sender.want(messages.Want(node.bundle, digests))
        with pytest.raises(PeerError, match=str(MAX_WANTED)):
            sender.want(messages.Want(node.bundle, (node.bundle,)))
        sender.stop()

    asyncio.run(work())


def test_an_unavailable_chunk_is_reported_and_the_others_are_sent(tmp_path: Path, clock: list[float]) -> None:
    node = NodeWithBundle(tmp_path, NOISE)
    unknown = digest_of(b"unknown")

    async def work() -> FakeLink:
        link = FakeLink(clock, 1e9)
        sender = ChunkSender(node, link)
        sender.want(messages.Want(node.bundle, (unknown, *node.chunks)))
        sender.want(messages.Want(unknown, (unknown,)))
        await link.until(lambda: len(link.unavailable) == 2 and link.ended == set(node.chunks))
        sender.stop()
        return link

    reasons = {message.bundle: message.reason for message in asyncio.run(work()).unavailable}
    assert reasons == {node.bundle: "the requested chunk is not in its bundle", unknown: "nobody is there"}
