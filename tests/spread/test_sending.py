"""Feeding one link: what it wants, in the form that pays."""

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


class Nobody:
    """There is no one above."""

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        raise StoreError("nobody is there")


class Larder:
    """A node that has one bundle."""

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
        self.fetcher = BundleFetcher(store, Nobody())
        self.compressed = Compressed()
        self.own = OWN


class Wire(Link):
    """Takes so many bytes a second, by the clock of the test, and keeps what it got."""

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
    """What the feed measures by."""
    now = [0.0]

    class Time:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    monkeypatch.setattr(sending, "time", Time)
    return now


def fed(larder: Larder, clock: list[float], rate: float, wires: int = 1) -> list[Wire]:
    """Everything in it, over so many links of this rate, one after the other."""

    async def work() -> list[Wire]:
        return [await feed_all(larder, Wire(clock, rate)) for _ in range(wires)]

    return asyncio.run(work())


async def feed_all(larder: Larder, wire: Wire) -> Wire:
    sources_by_child = ChunkSender(larder, wire)
    sources_by_child.want(messages.Want(larder.bundle, tuple(larder.chunks)))
    await wire.until(lambda: wire.ended == set(larder.chunks))
    sources_by_child.stop()
    return wire


def test_a_slow_link_gets_what_shrinks_compressed_once_it_was_measured(tmp_path: Path, clock: list[float]) -> None:
    larder = Larder(tmp_path, TEXT)
    (wire,) = fed(larder, clock, 6e6)
    first, *rest = wire.codecs.values()
    assert first == frames.CODEC_RAW
    assert set(rest) == {frames.CODEC_ZSTD}
    assert wire.size < 0.6 * len(TEXT)


def test_a_slow_link_gets_noise_as_it_is(tmp_path: Path, clock: list[float]) -> None:
    (wire,) = fed(Larder(tmp_path, NOISE), clock, 6e6)
    assert set(wire.codecs.values()) == {frames.CODEC_RAW}


def test_a_fast_link_gets_nothing_compressed(tmp_path: Path, clock: list[float]) -> None:
    (wire,) = fed(Larder(tmp_path, TEXT), clock, 1e9)
    assert set(wire.codecs.values()) == {frames.CODEC_RAW}


def test_a_chunk_is_compressed_once_for_all_who_are_fed(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed: list[int] = []

    def counting(data: bytes) -> bytes:
        compressed.append(len(data))
        return deflate(data)

    monkeypatch.setattr(sending, "deflate", counting)
    larder = Larder(tmp_path, TEXT)
    assert len(larder.chunks) < REMEMBERED
    fed(larder, clock, 6e6, wires=3)
    assert len(compressed) == len(larder.chunks) - 1


def test_a_link_that_wants_more_than_anybody_needs_is_a_fault_of_its_peer(tmp_path: Path, clock: list[float]) -> None:
    larder = Larder(tmp_path, NOISE)
    digests = tuple(number.to_bytes(32, "big") for number in range(MAX_WANTED))

    async def work() -> None:
        sources_by_child = ChunkSender(larder, Wire(clock, 1e9))
        sources_by_child.want(messages.Want(larder.bundle, digests))
        with pytest.raises(PeerError, match=str(MAX_WANTED)):
            sources_by_child.want(messages.Want(larder.bundle, (larder.bundle,)))
        sources_by_child.stop()

    asyncio.run(work())


def test_what_cannot_be_had_is_said_and_the_rest_is_sent(tmp_path: Path, clock: list[float]) -> None:
    larder = Larder(tmp_path, NOISE)
    stranger = digest_of(b"stranger")

    async def work() -> Wire:
        wire = Wire(clock, 1e9)
        sources_by_child = ChunkSender(larder, wire)
        sources_by_child.want(messages.Want(larder.bundle, (stranger, *larder.chunks)))
        sources_by_child.want(messages.Want(stranger, (stranger,)))
        await wire.until(lambda: len(wire.unavailable) == 2 and wire.ended == set(larder.chunks))
        sources_by_child.stop()
        return wire

    reasons = {message.bundle: message.reason for message in asyncio.run(work()).unavailable}
    assert reasons == {larder.bundle: "a chunk was asked for that is not in its bundle", stranger: "nobody is there"}
