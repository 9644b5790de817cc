"""Two real links, over a socket pair and over TLS; and one link whose peer is a raw socket."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gproc.errors import LinkLost
from gproc.link.connection import Link, Receiver
from gproc.link.transport import secure
from gproc.trust.authority import open_authority, provision
from gproc.trust.home import gproc_home
from gproc.trust.identity import load_identity
from gproc.trust.tls import client_context, server_context
from gproc.wire import frames, messages
from gproc.wire.endings import Release
from gproc.wire.frames import Piece
from gproc.wire.messages import Inquire, Ping, Shutdown
from tests.attack.peer import ANY
from tests.loop import run
from tests.patience import PATIENCE_S
from tests.pieces import piece_frame

DIGEST = b"d" * 32


class Recorder(Receiver[messages.Message]):
    """Records messages and data in order, and copies them before the next frame overwrites them."""

    direction = ANY

    def __init__(self) -> None:
        self.received: list[object] = []
        self.lost: list[str] = []
        self._changed = asyncio.Event()

    def on_message(self, link: Link, message: messages.Message) -> None:
        self._record(message)

    def on_stdio(self, link: Link, job: int, rank: int, stream: int, offset: int, data: memoryview) -> None:
        self._record((job, rank, stream, bytes(data)))

    def on_piece(self, link: Link, piece: Piece) -> None:
        self._record(piece._replace(data=bytes(piece.data)))

    def on_lost(self, link: Link, reason: str) -> None:
        self.lost.append(reason)
        self._changed.set()

    def _record(self, what: object) -> None:
        self.received.append(what)
        self._changed.set()

    async def until_received(self, count: int) -> None:
        while len(self.received) < count:
            assert not self.lost, self.lost
            await self._change()

    async def until_lost(self) -> str:
        while not self.lost:
            await self._change()
        return self.lost[0]

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Contexts:
    """The TLS contexts of both ends of a link."""

    def __init__(self, place: Path) -> None:
        authority = open_authority(gproc_home({"GPROC_HOME": str(place / "home")}), create=True)
        provision(authority, "kn7", (), str(place / "kn7"))
        self.parent = server_context(load_identity(authority.home, "master", "fe"))
        self.child = client_context(load_identity(str(place / "kn7"), "node", "kn7"))


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return Contexts(tmp_path_factory.mktemp("trust"))


@pytest.fixture(params=["plain", "tls"])
def security(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    if request.param == "plain":
        return None, None
    contexts: Contexts = request.getfixturevalue("contexts")
    return contexts.parent, contexts.child


Security = tuple[ssl.SSLContext | None, ssl.SSLContext | None]
PLAIN: Security = (None, None)


async def attach(link: Link, end: socket.socket, context: ssl.SSLContext | None, *, server_side: bool) -> None:
    end.setblocking(False)
    if context is None:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: link, end)
    else:
        await secure(end, context, link, server_side=server_side)


@asynccontextmanager
async def linked(
    security: Security, channel: int = frames.CHANNEL_CONTROL
) -> AsyncIterator[tuple[Link, Recorder, Link, Recorder]]:
    """The listening end and its recorder, the dialling end and its recorder."""
    ours, theirs = socket.socketpair()
    parent_records, child_records = Recorder(), Recorder()
    parent, child = Link(None, parent_records), Link(channel, child_records)
    await asyncio.gather(
        attach(parent, ours, security[0], server_side=True), attach(child, theirs, security[1], server_side=False)
    )
    try:
        yield parent, parent_records, child, child_records
    finally:
        parent.abort("the test is over")
        child.abort("the test is over")
        await asyncio.gather(parent_records.until_lost(), child_records.until_lost())
        assert [len(records.lost) for records in (parent_records, child_records)] == [1, 1]


@asynccontextmanager
async def linked_to_raw_socket(channel: int | None = None) -> AsyncIterator[tuple[Link, Recorder, socket.socket]]:
    """A link whose other end is a raw socket."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE_S)
    records = Recorder()
    link = Link(channel, records)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: link, ours)
    with theirs:
        yield link, records, theirs
        link.abort("the test is over")
        await records.until_lost()
        assert len(records.lost) == 1


@pytest.mark.parametrize(
    "channel", [frames.CHANNEL_CONTROL, frames.CHANNEL_BULK, frames.CHANNEL_CLIENT, frames.CHANNEL_PEER]
)
def test_both_ends_exchange_prefaces_and_know_the_channel(security: Security, channel: int) -> None:
    async def work() -> None:
        async with linked(security, channel) as (parent, _, child, _):
            assert {await parent.opened(), await child.opened()} == {channel}

    run(work())


def test_everything_arrives_in_the_order_in_which_it_was_written(security: Security) -> None:
    async def work() -> None:
        async with linked(security) as (parent, parent_records, child, child_records):
            await asyncio.gather(parent.opened(), child.opened())
            expected: list[object] = []
            for number in range(50):
                child.send(Release(number))
                child.write(frames.stdio_frame(number, 1, frames.STDOUT, 0, b"x" * 1000 * number))
                noise = os.urandom(2500 * number + 1)
                piece = Piece(DIGEST, len(noise), 0, frames.CODEC_RAW, noise)
                child.write_piece(piece)
                expected += [Release(number), (number, 1, frames.STDOUT, b"x" * 1000 * number), piece]
                if number % 10 == 0:
                    await child.drain()
            await parent_records.until_received(len(expected))
            assert parent_records.received == expected
            parent.send(Shutdown("both ways"))
            await child_records.until_received(1)
            assert child_records.received == [Shutdown("both ways")]

    run(work())


def test_a_ping_is_a_sign_of_life() -> None:
    async def work() -> None:
        async with linked(PLAIN) as (parent, parent_records, child, _):
            await parent.opened()
            parent.heard_s = 0.0
            child.send(Ping())
            child.send(Inquire(1))
            await parent_records.until_received(2)
            assert parent_records.received == [Ping(), Inquire(1)]
            assert parent.heard_s > 0

    run(work())


def test_everything_sent_before_a_close_arrives(security: Security) -> None:
    async def work() -> None:
        async with linked(security) as (parent, parent_records, child, _):
            await asyncio.gather(parent.opened(), child.opened())
            data = b"x" * frames.MAX_STDIO_BYTES
            for _ in range(30):
                child.write(frames.stdio_frame(1, 1, 1, 0, data))
            child.close()
            assert await parent_records.until_lost() == "closed the connection"
            assert len(parent_records.received) == 30

    run(work())


def test_draining_waits_for_a_reader_that_does_not_read_and_ends_with_the_link() -> None:
    async def work() -> None:
        async with linked_to_raw_socket() as (link, records, theirs):
            theirs.sendall(frames.preface(frames.CHANNEL_BULK))
            await link.opened()
            frame = piece_frame(Piece(DIGEST, frames.PIECE_BYTES, 0, 0, bytes(frames.PIECE_BYTES)))
            written = 0
            while True:
                link.write(frame)
                written += len(frame)
                draining = asyncio.create_task(link.drain())
                await asyncio.sleep(0)
                if not draining.done():
                    break
                assert written < 100 << 20
            read = 0
            while not draining.done():
                read += len(await asyncio.to_thread(theirs.recv, 1 << 20))
                await asyncio.sleep(0)
            assert 0 < read <= written + frames.PREFACE_BYTES
            for _ in range(20):
                link.write(frame)
            draining = asyncio.create_task(link.drain())
            await asyncio.sleep(0)
            assert not draining.done()
            link.abort("enough")
            await draining
            assert await records.until_lost() == "enough"
            link.write(frame)
            await link.drain()

    run(work())


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "not a gproc peer"),
        (b"S", "not a gproc peer"),
        (struct.pack("!5sHB", frames.MAGIC, 99, 1), "speaks version 99 of gproc's protocol, we speak"),
        (struct.pack("!5sHB", frames.MAGIC, frames.VERSION, 77), "channel 77"),
        (b"", "before it sent its preface"),
        (frames.MAGIC, "before it sent its preface"),
        (frames.preface(1), "closed the connection"),
        (frames.preface(1) + frames.header(9, 0), "kind 9"),
        (frames.preface(1) + frames.header(1, 2**31), "longer than"),
        (frames.preface(1) + frames.header(1, 3) + b"\xc1\xc1\xc1", "not a message"),
        (frames.preface(1) + frames.header(2, 3) + b"abc", "shorter than its header"),
        (frames.preface(1) + frames.header(3, 3) + b"abc", "shorter than its header"),
        (frames.preface(1) + messages.frame(Inquire(1))[:-1], "in the middle of a frame"),
    ],
)
def test_the_fault_of_a_peer_is_reported_once(sent: bytes, words: str) -> None:
    async def work() -> None:
        for cut in (len(sent), 1):
            async with linked_to_raw_socket() as (_, records, theirs):
                for begin in range(0, len(sent), cut or 1):
                    try:
                        theirs.sendall(sent[begin : begin + cut])
                    except OSError:  # the link refused the first bytes
                        break
                    await asyncio.sleep(0)
                theirs.close()
                assert words in await records.until_lost()
                assert records.received == []

    run(work())


def test_both_ends_of_a_version_mismatch_learn_of_it() -> None:
    """The link sends its own version to a peer of another version before it closes."""

    async def work() -> None:
        async with linked_to_raw_socket() as (link, records, theirs):
            theirs.sendall(struct.pack("!5sHB", frames.MAGIC, 99, frames.CHANNEL_CONTROL))
            with pytest.raises(LinkLost, match="version 99"):
                await link.opened()
            answer = await asyncio.to_thread(theirs.recv, 100)
            assert answer == frames.preface(frames.CHANNEL_CONTROL)
            assert "version 99" in await records.until_lost()
        async with linked_to_raw_socket(frames.CHANNEL_CONTROL) as (link, _, theirs):
            assert await asyncio.to_thread(theirs.recv, 100) == frames.preface(frames.CHANNEL_CONTROL)
            theirs.sendall(struct.pack("!5sHB", frames.MAGIC, 99, frames.CHANNEL_CONTROL))
            with pytest.raises(LinkLost, match="version 99"):
                await link.opened()

    run(work())


def test_an_answer_for_another_channel_is_refused() -> None:
    async def work() -> None:
        async with linked_to_raw_socket(frames.CHANNEL_CONTROL) as (link, _, theirs):
            theirs.sendall(frames.preface(frames.CHANNEL_BULK))
            with pytest.raises(LinkLost, match="opened channel 1, the peer answered for 2"):
                await link.opened()

    run(work())


def test_nothing_is_delivered_after_the_end() -> None:
    """Two frames arrive in one read, and the receiver aborts the link at the first."""

    async def work() -> None:
        async with linked_to_raw_socket() as (link, records, theirs):

            class Impatient(Receiver[messages.Message]):
                direction = ANY
                on_lost = records.on_lost

                def on_message(self, link: Link, message: messages.Message) -> None:
                    records.on_message(link, message)
                    link.abort("had enough")

            link.receiver = Impatient()
            theirs.sendall(frames.preface(1) + 2 * messages.frame(Inquire(1)))
            assert await records.until_lost() == "had enough"
            assert records.received == [Inquire(1)]

    run(work())


def test_a_frame_that_the_receiver_does_not_expect_is_the_peers_fault() -> None:
    async def work() -> None:
        unexpected = [
            (messages.frame(Inquire(1)), "an unexpected Inquire"),
            (frames.stdio_frame(1, 1, 1, 0, b"x"), "unexpected data of stream 1"),
            (piece_frame(Piece(DIGEST, 1, 0, 0, b"x")), "an unexpected piece of the chunk"),
        ]
        for frame, words in unexpected:
            async with linked_to_raw_socket() as (link, records, theirs):

                class ExpectsNothing(Receiver[messages.Message]):
                    direction = ANY
                    on_lost = records.on_lost

                link.receiver = ExpectsNothing()
                theirs.sendall(frames.preface(1) + frame)
                assert words in await records.until_lost()

    run(work())
