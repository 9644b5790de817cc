"""The master asks one client of a bundle for chunks, and the next one if that client fails.  The links are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gproc.errors import StoreError
from gproc.link.connection import Link
from gproc.service.offers import BundleOffers
from gproc.spread.fetching import BundleFetcher
from gproc.store.root import Root
from gproc.store.store import Store
from gproc.wire import frames
from gproc.wire.messages import Want
from tests.link.test_connection import PLAIN, Recorder, linked
from tests.loop import run
from tests.spread.test_fetching import BLOBS, BUNDLE, CHUNKS, DATA, OWN, content

OTHER = b"o" * 32
"""The name of a bundle that no client offers."""


SHORT_S = 0.01
"""The patience of a master that hardly waits."""


class Client:
    """A client's end of a connection.  master_end: the link by which `BundleOffers` knows the client."""

    def __init__(self, master_end: Link, heard: Recorder) -> None:
        self.master_end = master_end
        self.uid = 1000
        self._heard = heard

    async def wants(self, number: int) -> Want:
        """The number-th message of the master, counted from 1."""
        await self._heard.until_received(number)
        want = self._heard.received[number - 1]
        assert isinstance(want, Want)
        return want

    @property
    def asked(self) -> int:
        return len(self._heard.received)


class Service:
    """A fetcher that asks the clients of its offers, as the master's does."""

    def __init__(self, place: Path, *offering: Client, patience_s: float = 3600) -> None:
        """offering: those that offer the bundle, in this order."""
        self.fetcher = BundleFetcher(Store(str(place)), self, lambda bundle: self.offers.replace(bundle))
        self.offers = BundleOffers(self.fetcher, self, patience_s)
        for client in offering:
            self.offered_by(client)

    def fetching(self) -> asyncio.Task[Root]:
        """The transfer of the bundle, begun."""
        return asyncio.create_task(self.fetcher.root(BUNDLE, OWN))

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        self.offers.ask(bundle, digests)

    def offered_by(self, client: Client) -> None:
        self.offers.add(BUNDLE, client.master_end, client.uid)

    def give(self, client: Client, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self.give_instead(client, digest, BLOBS[digest])

    def give_instead(self, client: Client, digest: bytes, data: bytes) -> None:
        for piece in frames.pieces(digest, frames.CODEC_RAW, data):
            self.offers.on_piece(client.master_end, piece)


@asynccontextmanager
async def clients(count: int) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        ends = [await stack.enter_async_context(linked(PLAIN, frames.CHANNEL_CLIENT)) for _ in range(count)]
        yield [Client(ours, heard) for ours, _, _, heard in ends]


async def given(service: Service, client: Client, first: int = 1) -> Root:
    """The bundle, if this client gives all that it is asked for, beginning with its first-th message."""
    fetching = service.fetcher.root(BUNDLE, OWN)
    number = first

    async def answer() -> None:
        nonlocal number
        while True:
            service.give(client, (await client.wants(number)).digests)
            number += 1

    answering = asyncio.create_task(answer())
    try:
        return await fetching
    finally:
        answering.cancel()


def test_a_bundle_that_nobody_offers_cannot_be_asked_for(tmp_path: Path) -> None:
    async def work() -> None:
        service = Service(tmp_path)
        with pytest.raises(StoreError, match="no client offers this bundle"):
            service.ask(OTHER, (OTHER,))
        with pytest.raises(StoreError, match="no client offers this bundle"):
            await service.fetcher.root(OTHER, OWN)

    run(work())


def test_one_client_alone_is_asked_and_its_chunks_make_the_bundle(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(2) as (first, second):
            service = Service(tmp_path, first, first, second)
            assert content(await given(service, first)) == DATA
            assert second.asked == 0

    run(work())


def test_if_a_client_goes_the_next_one_is_asked_for_what_is_missing_and_no_more(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(2) as (first, second):
            service = Service(tmp_path, first, second)
            fetching = service.fetching()
            service.give(first, (await first.wants(1)).digests)
            assert set((await first.wants(2)).digests) == set(CHUNKS)
            service.give(first, CHUNKS[:1])
            service.offers.withdraw(first.master_end, "it is gone")
            assert set((await second.wants(1)).digests) == set(CHUNKS[1:])
            service.give(second, CHUNKS[1:])
            assert content(await fetching) == DATA

    run(work())


def test_if_the_last_client_goes_the_transfer_fails_with_the_reason(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(1) as (only,):
            service = Service(tmp_path, only)
            fetching = service.fetching()
            await only.wants(1)
            service.offers.withdraw(only.master_end, "the client is gone")
            with pytest.raises(StoreError, match="the client is gone"):
                await fetching
            with pytest.raises(StoreError, match="no client offers"):
                service.ask(BUNDLE, tuple(CHUNKS))

    run(work())


def test_a_client_that_was_not_asked_may_go_and_nobody_is_asked_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(3) as (first, second, third):
            service = Service(tmp_path, first, second)
            service.offers.withdraw(second.master_end, "it is gone")
            service.offers.withdraw(third.master_end, "it never offered anything")
            assert content(await given(service, first)) == DATA
            assert (second.asked, third.asked) == (0, 0)

    run(work())


def test_a_client_whose_file_changed_is_passed_over_for_this_bundle(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(2) as (first, second):
            service = Service(tmp_path, first, second)
            fetching = service.fetching()
            await first.wants(1)
            service.offers.unavailable(first.master_end, BUNDLE, "data: changed while it was being sent")
            service.give(second, (await second.wants(1)).digests)
            service.give(second, (await second.wants(2)).digests)
            assert content(await fetching) == DATA

    run(work())


def test_chunks_of_a_client_that_was_not_asked_and_chunks_that_come_late_are_ignored(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(2) as (first, second):
            service = Service(tmp_path, first, second)
            service.give(first, CHUNKS)  # it was not asked for
            fetching = service.fetching()
            await first.wants(1)
            service.give(second, (BUNDLE,))
            assert not service.fetcher.is_available(BUNDLE, BUNDLE)
            service.give(first, (BUNDLE,))
            service.give(first, (await first.wants(2)).digests)
            assert content(await fetching) == DATA
            service.give(first, CHUNKS)  # once more

    run(work())


def test_a_client_may_offer_again_after_it_was_passed_over(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(1) as (only,):
            service = Service(tmp_path, only)
            service.offers.unavailable(only.master_end, BUNDLE, "data: changed")
            service.offered_by(only)
            assert content(await given(service, only)) == DATA

    run(work())


@asynccontextmanager
async def serving(service: Service, client: Client) -> AsyncIterator[None]:
    """The client offers the bundle, and gives all that it is asked for."""

    async def serve() -> None:
        number = 1
        while True:
            service.give(client, (await client.wants(number)).digests)
            number += 1

    service.offered_by(client)
    task = asyncio.create_task(serve())
    yield
    task.cancel()


def test_a_client_that_stays_silent_is_replaced_and_so_are_all_others_of_its_user(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(3) as (silent, silent_too, honest):
            honest.uid = 1001
            service = Service(tmp_path, silent)
            fetching = service.fetching()
            await silent.wants(1)
            service.offered_by(silent_too)
            async with serving(service, honest):
                assert service.offers.replace(BUNDLE)
                service.give(silent, (BUNDLE,))  # too late
                assert content(await fetching) == DATA
            assert silent_too.asked == 0

    run(work())


def test_a_client_that_is_silent_in_the_middle_of_a_chunk_is_replaced(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(2) as (silent, honest):
            service = Service(tmp_path, silent, patience_s=SHORT_S)
            fetching = service.fetching()
            service.give(silent, (await silent.wants(1)).digests)
            await silent.wants(2)
            first, *_ = frames.pieces(CHUNKS[0], frames.CODEC_RAW, BLOBS[CHUNKS[0]])
            service.offers.on_piece(silent.master_end, first)
            async with serving(service, honest):
                assert content(await fetching) == DATA

    run(work())


def test_a_client_that_is_alone_has_all_the_time_that_it_wants(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(1) as (slow,):
            service = Service(tmp_path, slow, patience_s=0)
            fetching = service.fetching()
            for number in (1, 2):
                digests = (await slow.wants(number)).digests
                for _ in range(10):
                    await asyncio.sleep(0)
                service.give(slow, digests)
            assert content(await fetching) == DATA
            assert slow.asked == 2

    run(work())


@pytest.mark.parametrize("about", ["the manifest", "a chunk"])
def test_a_client_that_lies_is_replaced(tmp_path: Path, about: str) -> None:
    async def work() -> None:
        async with clients(2) as (liar, honest):
            service = Service(tmp_path, liar)
            fetching = service.fetching()
            asked = (await liar.wants(1)).digests
            if about == "a chunk":
                service.give(liar, asked)
                asked = (await liar.wants(2)).digests
            async with serving(service, honest):
                service.give_instead(liar, asked[0], b"something else")
                assert content(await fetching) == DATA

    run(work())


def test_a_lie_is_an_error_for_the_liar_if_nobody_else_offers_the_bundle(tmp_path: Path) -> None:
    async def work() -> None:
        async with clients(1) as (liar,):
            service = Service(tmp_path, liar)
            fetching = service.fetching()
            await liar.wants(1)
            service.give_instead(liar, BUNDLE, b"another manifest")
            with pytest.raises(StoreError, match="manifest"):
                await fetching

    run(work())
