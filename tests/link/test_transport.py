"""TLS under a link: what goes over it in however small steps arrives, and it ends as a connection should."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproc.link.transport import LEAST_WAIT_BYTES, LINGER_S, Records, TlsTransport, secure
from gproc.trust.authority import open_authority, provision
from gproc.trust.home import gproc_home
from gproc.trust.identity import load_identity
from gproc.trust.tls import client_context, server_context
from tests.loop import TIMEOUT_S, run

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


class Ear:
    """Takes portions of so many bytes, one after the other, and waits for each to be whole."""

    def __init__(self, portion: int = 1 << 16) -> None:
        self.heard = bytearray()
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: TlsTransport
        self.writable = asyncio.Event()
        self.writable.set()
        self._portion = portion
        self._buffer = memoryview(bytearray(portion))
        self._filled = 0
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsTransport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == self._portion:
            self.heard += self._buffer
            self._filled = 0
            self._changed.set()

    def missing(self) -> int:
        return self._portion - self._filled if self._filled else 0

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set_result(error)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    async def until(self, size: int) -> bytes:
        while len(self.heard) < size:
            self._changed.clear()
            await self._changed.wait()
        return bytes(self.heard)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    place = tmp_path_factory.mktemp("trust")
    authority = open_authority(gproc_home({"GPROC_HOME": str(place / "home")}), create=True)
    provision(authority, "kn7", (), str(place / "kn7"))
    server = server_context(load_identity(authority.home, "master", "fe"))
    return server, client_context(load_identity(str(Path(place / "kn7")), "node", "kn7"))


@asynccontextmanager
async def secured(contexts: Contexts, portion: int = 1 << 16) -> AsyncIterator[tuple[Ear, Ear]]:
    """The two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialling = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    here, there = Ear(portion), Ear(portion)
    for end in (accepted, dialling):
        end.setblocking(False)
    await asyncio.gather(
        secure(accepted, contexts[0], here, server_side=True), secure(dialling, contexts[1], there, server_side=False)
    )
    yield here, there
    for ear in (here, there):
        ear.transport.abort()
        await ear.ended


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_records_are_followed_however_they_are_cut(bodies: list[bytes], data: st.DataObject) -> None:
    records = [b"\x17\x03\x03" + len(body).to_bytes(2, "big") + body for body in bodies]
    stream = b"".join(records)
    starts = {sum(map(len, records[:count])) for count in range(len(records) + 1)}
    follower = Records()
    place = 0
    while place < len(stream):
        step = data.draw(st.integers(1, len(stream) - place))
        follower.follow(memoryview(stream)[place : place + step])
        place += step
        assert follower.held == place - max(start for start in starts if start <= place)


@pytest.mark.parametrize("portion", [1, 100, LEAST_WAIT_BYTES + 1, (128 << 10) + 50, 1 << 20])
def test_portions_arrive_whole_whatever_their_size(contexts: Contexts, portion: int) -> None:
    """The reader is woken when a portion is here: none may wait for bytes that nobody sends."""

    async def work() -> None:
        async with secured(contexts, portion) as (here, there):
            data = os.urandom(portion * 5)
            for number in range(5):
                there.transport.write(data[number * portion : (number + 1) * portion])
                assert await here.until((number + 1) * portion) == data[: (number + 1) * portion]
            here.transport.writelines([data[:portion], b"", data[portion:]])
            assert await there.until(len(data)) == data

    run(work())


@settings(max_examples=20)
@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=10), st.integers(1, 300_000))
def test_portions_arrive_whole_however_they_are_written(contexts: Contexts, writes: list[int], portion: int) -> None:
    async def work() -> None:
        size = sum(writes) // portion * portion
        data = os.urandom(sum(writes))
        async with secured(contexts, portion) as (here, there):
            place = 0
            for step in writes:
                there.transport.write(data[place : place + step])
                place += step
                await asyncio.sleep(0)
            assert await here.until(size) == data[:size]

    run(work())


def test_a_writer_is_told_to_wait_and_to_go_on(contexts: Contexts) -> None:
    async def work() -> None:
        async with secured(contexts) as (here, there):
            there.transport.set_write_buffer_limits(high=1 << 20)
            asyncio.get_running_loop().remove_reader(here.transport.get_extra_info("socket"))
            written = 0
            while there.writable.is_set():
                there.transport.write(bytes(1 << 16))
                written += 1 << 16
                await asyncio.sleep(0)
            assert there.transport.get_write_buffer_size() > 1 << 20
            here.transport.begin()
            await there.writable.wait()
            assert there.transport.get_write_buffer_size() <= 1 << 20
            assert len(await here.until(written)) == written

    run(work())


def test_what_was_written_before_a_close_arrives_and_both_ends_end_without_an_error(contexts: Contexts) -> None:
    async def work() -> None:
        async with secured(contexts) as (here, there):
            data = os.urandom(3 << 20)
            there.transport.write(data)
            there.transport.close()
            assert there.transport.is_closing()
            there.transport.write(b"too late")
            assert await here.until(len(data)) == data
            assert await here.ended is None
            assert await there.ended is None

    run(work())


def test_a_peer_that_does_not_hang_up_is_not_waited_for_for_ever(contexts: Contexts) -> None:
    async def work() -> None:
        async with secured(contexts) as (here, there):
            asyncio.get_running_loop().remove_reader(here.transport.get_extra_info("socket"))
            there.transport.close()
            async with asyncio.timeout(LINGER_S + TIMEOUT_S / 2):
                assert await there.ended is None

    run(work())


def test_what_is_no_tls_any_more_ends_the_connection_with_an_error(contexts: Contexts) -> None:
    async def work() -> None:
        async with secured(contexts) as (here, there):
            there.transport.get_extra_info("socket").send(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert isinstance(await here.ended, ssl.SSLError)

    run(work())


def test_a_connection_that_is_cut_ends_at_the_other_end(contexts: Contexts) -> None:
    async def work() -> None:
        async with secured(contexts) as (here, there):
            there.transport.abort()
            await there.ended
            assert await here.ended is None

    run(work())


def test_who_shows_no_certificate_hears_why(contexts: Contexts) -> None:
    async def work() -> None:
        stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        stranger.check_hostname = False
        stranger.verify_mode = ssl.CERT_NONE
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        ear = Ear()
        refused, _ = await asyncio.gather(
            secure(ours, contexts[0], Ear(), server_side=True),
            secure(theirs, stranger, ear, server_side=False),
            return_exceptions=True,
        )
        assert isinstance(refused, ssl.SSLError)
        assert ours.fileno() == -1
        error = await ear.ended
        assert isinstance(error, ssl.SSLError)
        assert error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"

    run(work())


def test_who_hangs_up_in_the_handshake_is_a_reset(contexts: Contexts) -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.close()
        with pytest.raises(ConnectionResetError):
            await secure(ours, contexts[0], Ear(), server_side=True)
        assert ours.fileno() == -1

    run(work())
