"""Two real links, over a socket pair and over TLS; and one link whose peer is a stranger's socket."""

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
from gproc.wire.frames import Piece
from gproc.wire.messages import Inquire, Ping, Release, Shutdown
from tests.loop import TIMEOUT_S, run

DIGEST = b"d" * 32


class Ear(Receiver):
    """Keeps what it is told, in order, copied before the next frame overwrites it."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.lost: list[str] = []
        self._changed = asyncio.Event()

    def on_message(self, link: Link, message: messages.AnyMessage) -> None:
        self._hear(message)

    def on_stdio(self, link: Link, job: int, rank: int, stream: int, data: memoryview) -> None:
        self._hear((job, rank, stream, bytes(data)))

    def on_piece(self, link: Link, piece: Piece) -> None:
        self._hear(piece._replace(data=bytes(piece.data)))

    def on_lost(self, link: Link, reason: str) -> None:
        self.lost.append(reason)
        self._changed.set()

    def _hear(self, what: object) -> None:
        self.heard.append(what)
        self._changed.set()

    async def until_heard(self, count: int) -> None:
        while len(self.heard) < count:
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
    """What both ends of a TLS link need."""

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
) -> AsyncIterator[tuple[Link, Ear, Link, Ear]]:
    """The listening end and its ear, the dialling end and its ear."""
    ours, theirs = socket.socketpair()
    parent_ear, child_ear = Ear(), Ear()
    parent, child = Link(None, parent_ear), Link(channel, child_ear)
    await asyncio.gather(
        attach(parent, ours, security[0], server_side=True), attach(child, theirs, security[1], server_side=False)
    )
    try:
        yield parent, parent_ear, child, child_ear
    finally:
        parent.abort("the test is over")
        child.abort("the test is over")
        await asyncio.gather(parent_ear.until_lost(), child_ear.until_lost())
        assert [len(ear.lost) for ear in (parent_ear, child_ear)] == [1, 1]


@asynccontextmanager
async def facing_a_stranger(channel: int | None = None) -> AsyncIterator[tuple[Link, Ear, socket.socket]]:
    """A link whose other end is a bare socket."""
    ours, stranger = socket.socketpair()
    stranger.settimeout(TIMEOUT_S)
    ear = Ear()
    link = Link(channel, ear)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: link, ours)
    with stranger:
        yield link, ear, stranger
        link.abort("the test is over")
        await ear.until_lost()
        assert len(ear.lost) == 1


@pytest.mark.parametrize(
    "channel", [frames.CHANNEL_CONTROL, frames.CHANNEL_BULK, frames.CHANNEL_CLIENT, frames.CHANNEL_PEER]
)
def test_both_ends_greet_and_know_the_channel(security: Security, channel: int) -> None:
    async def work() -> None:
        async with linked(security, channel) as (parent, _, child, _):
            assert {await parent.opened(), await child.opened()} == {channel}

    run(work())


def test_everything_arrives_in_the_order_in_which_it_was_written(security: Security) -> None:
    async def work() -> None:
        async with linked(security) as (parent, parent_ear, child, child_ear):
            await asyncio.gather(parent.opened(), child.opened())
            expected: list[object] = []
            for number in range(50):
                child.send(Release(number))
                child.write(frames.stdio_frame(number, 1, frames.STDOUT, b"x" * 1000 * number))
                noise = os.urandom(2500 * number + 1)
                piece = Piece(DIGEST, len(noise), 0, frames.CODEC_RAW, noise)
                child.write_piece(piece)
                expected += [Release(number), (number, 1, frames.STDOUT, b"x" * 1000 * number), piece]
                if number % 10 == 0:
                    await child.drain()
            await parent_ear.until_heard(len(expected))
            assert parent_ear.heard == expected
            parent.send(Shutdown("both ways"))
            await child_ear.until_heard(1)
            assert child_ear.heard == [Shutdown("both ways")]

    run(work())


def test_a_ping_is_a_sign_of_life_and_nothing_else() -> None:
    async def work() -> None:
        async with linked(PLAIN) as (parent, parent_ear, child, _):
            await parent.opened()
            parent.heard_s = 0.0
            child.send(Ping())
            child.send(Inquire())
            await parent_ear.until_heard(1)
            assert parent_ear.heard == [Inquire()]
            assert parent.heard_s > 0

    run(work())


def test_what_was_sent_before_a_close_arrives(security: Security) -> None:
    async def work() -> None:
        async with linked(security) as (parent, parent_ear, child, _):
            await asyncio.gather(parent.opened(), child.opened())
            data = b"x" * frames.MAX_STDIO_BYTES
            for _ in range(30):
                child.write(frames.stdio_frame(1, 1, 1, data))
            child.close()
            assert await parent_ear.until_lost() == "closed the connection"
            assert len(parent_ear.heard) == 30

    run(work())


def test_draining_waits_for_a_reader_that_does_not_read_and_ends_with_the_link() -> None:
    async def work() -> None:
        async with facing_a_stranger() as (link, ear, stranger):
            stranger.sendall(frames.preface(frames.CHANNEL_BULK))
            await link.opened()
            frame = frames.piece_frame(Piece(DIGEST, frames.PIECE_BYTES, 0, 0, bytes(frames.PIECE_BYTES)))
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
                read += len(await asyncio.to_thread(stranger.recv, 1 << 20))
                await asyncio.sleep(0)
            assert 0 < read <= written + frames.PREFACE_BYTES
            for _ in range(20):
                link.write(frame)
            draining = asyncio.create_task(link.drain())
            await asyncio.sleep(0)
            assert not draining.done()
            link.abort("enough")
            await draining
            assert await ear.until_lost() == "enough"
            link.write(frame)
            await link.drain()

    run(work())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "not a gproc peer"),
        (b"S", "not a gproc peer"),
        (struct.pack("!5sHB", frames.MAGIC, 99, 1), "speaks version 99 of gproc's protocol, we speak"),
        (struct.pack("!5sHB", frames.MAGIC, frames.VERSION, 77), "channel 77"),
        (b"", "before it said who it is"),
        (frames.MAGIC, "before it said who it is"),
        (frames.preface(1), "closed the connection"),
        (frames.preface(1) + frames.header(9, 0), "kind 9"),
        (frames.preface(1) + frames.header(1, 2**31), "longer than"),
        (frames.preface(1) + frames.header(1, 3) + b"\xc1\xc1\xc1", "not a message"),
        (frames.preface(1) + frames.header(2, 3) + b"abc", "shorter than its header"),
        (frames.preface(1) + frames.header(3, 3) + b"abc", "shorter than its header"),
        (frames.preface(1) + messages.frame(Inquire())[:-1], "in the middle of a frame"),
    ],
)
def test_what_is_wrong_with_a_stranger_is_said_once(said: bytes, words: str) -> None:
    async def work() -> None:
        for cut in (len(said), 1):
            async with facing_a_stranger() as (_, ear, stranger):
                for begin in range(0, len(said), cut or 1):
                    try:
                        stranger.sendall(said[begin : begin + cut])
                    except OSError:  # refused before it had said all
                        break
                    await asyncio.sleep(0)
                stranger.close()
                assert words in await ear.until_lost()
                assert ear.heard == []

    run(work())


def test_both_ends_of_a_version_mismatch_learn_of_it() -> None:
    """A peer of another version is told ours before it is hung up on."""

    async def work() -> None:
        async with facing_a_stranger() as (link, ear, stranger):
            stranger.sendall(struct.pack("!5sHB", frames.MAGIC, 99, frames.CHANNEL_CONTROL))
            with pytest.raises(LinkLost, match="version 99"):
                await link.opened()
            answer = await asyncio.to_thread(stranger.recv, 100)
            assert answer == frames.preface(frames.CHANNEL_CONTROL)
            assert "version 99" in await ear.until_lost()
        async with facing_a_stranger(frames.CHANNEL_CONTROL) as (link, _, stranger):
            assert await asyncio.to_thread(stranger.recv, 100) == frames.preface(frames.CHANNEL_CONTROL)
            stranger.sendall(struct.pack("!5sHB", frames.MAGIC, 99, frames.CHANNEL_CONTROL))
            with pytest.raises(LinkLost, match="version 99"):
                await link.opened()

    run(work())


def test_an_answer_for_another_channel_is_refused() -> None:
    async def work() -> None:
        async with facing_a_stranger(frames.CHANNEL_CONTROL) as (link, _, stranger):
            stranger.sendall(frames.preface(frames.CHANNEL_BULK))
            with pytest.raises(LinkLost, match="opened channel 1, the peer answered for 2"):
                await link.opened()

    run(work())


def test_nothing_is_delivered_after_the_end() -> None:
    """Two frames in one read, and the first one's reader has had enough."""

    async def work() -> None:
        async with facing_a_stranger() as (link, ear, stranger):

            class Impatient(Receiver):
                on_lost = ear.on_lost

                def on_message(self, link: Link, message: messages.AnyMessage) -> None:
                    ear.on_message(link, message)
                    link.abort("had enough")

            link.receiver = Impatient()
            stranger.sendall(frames.preface(1) + 2 * messages.frame(Inquire()))
            assert await ear.until_lost() == "had enough"
            assert ear.heard == [Inquire()]

    run(work())


def test_what_a_receiver_does_not_expect_is_its_peers_fault() -> None:
    async def work() -> None:
        unexpected = [
            (messages.frame(Inquire()), "an unexpected Inquire"),
            (frames.stdio_frame(1, 1, 1, b"x"), "data of stream 1"),
            (frames.piece_frame(Piece(DIGEST, 1, 0, 0, b"x")), "a piece of the chunk"),
        ]
        for frame, words in unexpected:
            async with facing_a_stranger() as (link, ear, stranger):

                class Deaf(Receiver):
                    on_lost = ear.on_lost

                link.receiver = Deaf()
                stranger.sendall(frames.preface(1) + frame)
                assert words in await ear.until_lost()

    run(work())
