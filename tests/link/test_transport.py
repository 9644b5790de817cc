"""TLS under a link: bytes written in steps of any size arrive, and the connection ends in order."""

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
from tests.loop import run
from tests.patience import PATIENCE_S

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


class Recorder:
    """Reads portions of a fixed size, one after the other, and waits until each is complete."""

    def __init__(self, portion: int = 1 << 16) -> None:
        self.received = bytearray()
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
            self.received += self._buffer
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
        while len(self.received) < size:
            self._changed.clear()
            await self._changed.wait()
        return bytes(self.received)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    place = tmp_path_factory.mktemp("trust")
    authority = open_authority(gproc_home({"GPROC_HOME": str(place / "home")}), create=True)
    provision(authority, "kn7", (), str(place / "kn7"))
    server = server_context(load_identity(authority.home, "master", "fe"))
    return server, client_context(load_identity(str(Path(place / "kn7")), "node", "kn7"))


@asynccontextmanager
async def secured(
    contexts: Contexts, portion: int = 1 << 16, recorder: type[Recorder] = Recorder
) -> AsyncIterator[tuple[Recorder, Recorder]]:
    """The two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialling = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    here, there = recorder(portion), Recorder(portion)
    accepted.setblocking(False)
    dialling.setblocking(False)
    await asyncio.gather(
        secure(accepted, contexts[0], here, server_side=True), secure(dialling, contexts[1], there, server_side=False)
    )
    yield here, there
    for end in (here, there):
        end.transport.abort()
        await end.ended


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_records_cut_anywhere_are_followed(bodies: list[bytes], data: st.DataObject) -> None:
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
def test_portions_of_any_size_arrive_complete(contexts: Contexts, portion: int) -> None:
    """The reader is woken when a portion is here, and never waits for bytes that the sender has not sent."""

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
def test_portions_written_in_any_steps_arrive_complete(contexts: Contexts, writes: list[int], portion: int) -> None:
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


class Sipping(Recorder):
    """Stops reading after each portion, and goes on in a later turn of the event loop."""

    pauses = 0

    def buffer_updated(self, nbytes: int) -> None:
        assert not self.is_paused
        super().buffer_updated(nbytes)
        if not self._filled:
            self.pauses += 1
            self.is_paused = True
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    is_paused = False

    def _go_on(self) -> None:
        self.is_paused = False
        self.transport.resume_reading()


@pytest.mark.parametrize("portion", [100, 5_000, 200_000])
def test_a_reader_that_stops_and_goes_on_misses_nothing_and_sees_the_end(contexts: Contexts, portion: int) -> None:
    async def work() -> None:
        async with secured(contexts, portion, Sipping) as (here, there):
            data = os.urandom(5 * portion)
            there.transport.write(data)
            there.transport.close()
            assert await here.until(len(data)) == data
            assert isinstance(here, Sipping)
            assert here.pauses == 5
            assert await here.ended is None
            assert await there.ended is None

    run(work())


def test_a_reader_that_has_stopped_is_sent_no_more_than_the_kernel_holds(contexts: Contexts) -> None:
    async def work() -> None:
        async with secured(contexts, 1) as (here, there):
            here.transport.pause_reading()
            while there.writable.is_set():
                there.transport.write(bytes(1 << 16))
                await asyncio.sleep(0)
            assert not here.received
            here.transport.close()  # the other end reads to the end, and closes too
            assert await there.ended is None

    run(work())


def test_everything_written_before_a_close_arrives_and_both_ends_end_without_an_error(contexts: Contexts) -> None:
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


def test_a_closed_connection_does_not_wait_for_ever_until_the_peer_closes(contexts: Contexts) -> None:
    async def work() -> None:
        async with secured(contexts) as (here, there):
            asyncio.get_running_loop().remove_reader(here.transport.get_extra_info("socket"))
            there.transport.close()
            async with asyncio.timeout(LINGER_S + PATIENCE_S / 2):
                assert await there.ended is None

    run(work())


def test_bytes_that_are_not_tls_end_the_connection_with_an_error(contexts: Contexts) -> None:
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


def test_a_peer_without_a_certificate_learns_the_reason(contexts: Contexts) -> None:
    async def work() -> None:
        without_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        without_certificate.check_hostname = False
        without_certificate.verify_mode = ssl.CERT_NONE
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        recorder = Recorder()
        refused, _ = await asyncio.gather(
            secure(ours, contexts[0], Recorder(), server_side=True),
            secure(theirs, without_certificate, recorder, server_side=False),
            return_exceptions=True,
        )
        assert isinstance(refused, ssl.SSLError)
        assert ours.fileno() == -1
        error = await recorder.ended
        assert isinstance(error, ssl.SSLError)
        assert error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"

    run(work())


def test_a_peer_that_closes_in_the_handshake_is_a_reset(contexts: Contexts) -> None:
    async def work() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.close()
        with pytest.raises(ConnectionResetError):
            await secure(ours, contexts[0], Recorder(), server_side=True)
        assert ours.fileno() == -1

    run(work())
