"""One connection as an asyncio protocol: received bytes become messages, messages become bytes."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from gproc.errors import LinkLost, PeerError
from gproc.link.shift import Shift
from gproc.link.transport import HANDSHAKE_S
from gproc.wire import frames, messages
from gproc.wire.directions import Direction

M = TypeVar("M")

UNACKNOWLEDGED_PART: Final = 0.55
"""The part of the link timeout for which sent data may stay unacknowledged, as TCP_USER_TIMEOUT.  Linux counts from the
first retransmission.  It comes 0.2 to 0.4 s after the data, by a tail loss probe and then the least timeout of 0.2 s.
So of a timeout of 2 s it is 1.5 s at most from the data to the end, with two retransmissions more in between
(RFC 6298).  Until that data is sent, a heartbeat's interval may pass.  Measured by hand with cuts of real links: with
0.55, both ends had noticed after 1.54 to 1.81 s (25 cuts); with 0.7, after 1.80 to 2.09 s (30 cuts)."""

BULK_HIGH_WATER_BYTES: Final = 256 << 10
"""Unsent bytes at which a sender of chunks waits: two pieces."""

WAKE_BYTES: Final = 16 << 10
"""A control connection is woken after this many bytes, even in the middle of a frame: any byte is a sign of life.  On a
link of 10 kB/s, half a frame of output takes ten seconds."""


HOLD_S: Final = 0.05
"""Seconds between two looks if a connection that is held may go on."""

LAST_WORDS_S: Final = 1.0
"""Seconds that a neighbour has to read the last words of a connection that is ended."""


class Receiver(Generic[M]):
    """Takes the messages and data of a connection.  A PeerError that it raises ends the connection.

    direction: the messages that may come.  Data that a receiver does not expect is its peer's fault: methods that are
    not overridden raise PeerError.
    """

    direction: Direction[M]

    def on_message(self, link: Link, message: M) -> None:
        raise PeerError(f"an unexpected {type(message).__name__}")

    def on_stdio(self, link: Link, job: int, rank: int, stream: int, offset: int, data: memoryview) -> None:
        raise PeerError(f"unexpected data of stream {stream}")

    def on_input(self, link: Link, job: int, block: frames.InputBlock) -> None:
        raise PeerError("unexpected standard input")

    def on_piece(self, link: Link, piece: frames.Piece) -> None:
        raise PeerError(f"an unexpected piece of the chunk {piece.digest.hex()}")

    def on_fault(self, link: Link, reason: str) -> None:
        """The peer sent what it must not, or more than there is room for: end the connection."""
        link.abort(reason)

    def on_lost(self, link: Link, reason: str) -> None:
        """The connection has ended.  Called exactly once."""


class Traffic:
    """Bytes of connections: what came and what was sent, without TLS."""

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


class Link(asyncio.BufferedProtocol):
    """A connection that exchanges prefaces, then frames.  The owner may replace `receiver` when it knows the peer.

    Frames are gathered and written once per turn of the event loop: if nineteen nodes finish at the same time, their
    rack master writes once.
    """

    def __init__(
        self, channel: int | None, receiver: Receiver[Any], room: frames.Room | None = None,
        traffic: Traffic | None = None, *, welcomed: bool = False, shift: Shift | None = None,
    ) -> None:  # fmt: skip
        """channel: the one that we open; None if the peer opens one, which `channel` then holds.

        room: for frames that come; None if they may take as much as they need.  traffic: where its bytes are counted.
        welcomed: whether the peer, which opens a channel, has been sent our preface already.
        shift: the share of the event loop that its user may have; None: as much as it takes.
        """
        self.receiver = receiver
        self._traffic = Traffic() if traffic is None else traffic
        self._shift = shift
        self._may_go_on: Callable[[], bool] | None = None
        self.channel = channel
        self.peer = "?"
        self.heard_s = time.monotonic()
        self.written_s = 0.0
        self._accepting = channel is None
        self._welcomed = welcomed
        self._transport: asyncio.Transport | None = None
        self._reader = frames.FrameReader(room)
        self._greeted = False
        self._outbox: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = False
        self.ending = False
        """Whether it ends as soon as all that was written is sent."""
        self._why: str | None = None
        self._opened: asyncio.Future[int] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection has ended."""
        self.left = False
        """Whether the peer has ended it in order: after its preface, and between two frames."""

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=BULK_HIGH_WATER_BYTES)
        if not self._accepting:
            assert self.channel is not None
            self._transport.write(frames.preface(self.channel))

    def get_buffer(self, _sizehint: int) -> memoryview:  # TLS needs a memoryview
        return self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._traffic.received += nbytes
        self.heard_s = time.monotonic()
        self._received(nbytes, its_turn=False)

    def _received(self, nbytes: int, *, its_turn: bool) -> None:
        try:
            if not self._greeted:
                self._read_preface(nbytes)
                nbytes = 0
                if not self._greeted:
                    return
            if self._shift is None:
                for kind, payload in self._reader.frames(nbytes):
                    if self._lost or self._why is not None:
                        return
                    self._deliver(kind, payload)
            else:
                self._deliver_in_shift(nbytes, self._shift, its_turn=its_turn)
        except PeerError as error:
            self.receiver.on_fault(self, str(error))

    def _deliver_in_shift(self, count: int, shift: Shift, *, its_turn: bool) -> None:
        """Deliver as many of the bytes that are here, with `count` more, as its user has time for; the rest waits.

        its_turn: it has waited, and gets one frame delivered in any case.
        """
        since_s = shift.now_s()
        try:
            for kind, payload in self._reader.frames(count):
                if self._lost or self._why is not None:
                    return
                assert self._transport is not None
                if self._still_held():
                    self._transport.pause_reading()
                    self._loop.call_later(HOLD_S, self._look_again)
                    return
                if not its_turn and shift.is_over(since_s):
                    self._transport.pause_reading()
                    shift.wait(self._go_on)
                    return
                its_turn = False
                self._deliver(kind, payload)
        finally:
            shift.spend(since_s)

    def _still_held(self) -> bool:
        """Asks again, and forgets a hold that is over."""
        if self._may_go_on is not None and self._may_go_on():
            self._may_go_on = None
        return self._may_go_on is not None

    def _look_again(self) -> None:
        """Whether it is still held."""
        if self._transport is None or self._lost or self._transport.is_closing():
            return
        self.heard_s = time.monotonic()  # it may say more than we read
        if self._still_held():
            self._loop.call_later(HOLD_S, self._look_again)
        elif self._shift is not None:
            self._shift.wait(self._go_on)

    def _go_on(self) -> None:
        """Its user has time again."""
        if self._transport is None or self._lost or self._transport.is_closing():
            return
        self._transport.resume_reading()
        try:
            self._received(0, its_turn=True)
        except BaseException:  # a fault of ours ends the connection, as asyncio does it for bytes that come
            self.abort("a fault of this program")
            raise

    def missing(self) -> int:
        missing = self._reader.missing()
        if self.channel in (frames.CHANNEL_BULK, frames.CHANNEL_PEER):
            return missing
        return min(missing, WAKE_BYTES)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        self._writable.set()
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            error = None  # the peer closed before it had read everything that we sent
        reason = self._why or ("" if error is None else explain(error)) or self._unfinished()
        self.left = self._why is None and error is None and self._greeted and not self._reader.pending()
        if not self._opened.done():
            self._opened.set_exception(LinkLost(reason))
            self._opened.exception()
        self._reader.close()
        if not self.gone.done():
            self.gone.set_result(None)
        self.receiver.on_lost(self, reason)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # Called by the owner

    async def opened(self) -> int:
        """Wait for the peer's preface.  Returns the channel.

        Raises: LinkLost if the peer closes, is not gproc, speaks another version or sends nothing.
        """
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                return await asyncio.shield(self._opened)
        except TimeoutError:
            self.abort(f"sent no preface for {HANDSHAKE_S:.0f} s")
            raise LinkLost(f"{self.peer} sent no preface for {HANDSHAKE_S:.0f} s") from None

    def send(self, message: messages.Message) -> None:
        self.write(messages.frame(message))

    def write(self, frame: bytes) -> None:
        """Send a frame.  Does nothing if the connection has ended."""
        if self._lost or self._transport is None:
            return
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(frame)

    def write_piece(self, piece: frames.Piece) -> None:
        """Send a piece of a chunk.  Its data is neither copied nor kept."""
        self._flush()
        if self._lost or self._transport is None:
            return
        self.written_s = time.monotonic()
        head = frames.piece_head(piece)
        self._traffic.sent += len(head) + len(piece.data)
        self._transport.writelines((head, piece.data))

    async def drain(self) -> None:
        """Wait until most of the written bytes are sent.  Returns at once if the connection has ended."""
        self._flush()
        await self._writable.wait()

    def close(self) -> None:
        """End the connection after everything that was written has been sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def end(self, reason: str) -> None:
        """Hear nothing more, and end the connection when all that was written is sent, or soon if it cannot be."""
        if self._why is None:
            self._why = reason
        self.ending = True
        self.close()
        self._loop.call_later(LAST_WORDS_S, self.abort, reason)

    def abort(self, reason: str) -> None:
        """End the connection at once.  `on_lost` gets the reason."""
        if self._why is None:
            self._why = reason
        if self._transport is not None and not self._lost:  # asyncio's own abort() fails after close() has finished
            self._transport.abort()

    def hold(self, may_go_on: Callable[[], bool]) -> None:
        """Deliver nothing more until this says so.  Only for a connection with a shift."""
        assert self._shift is not None
        self._may_go_on = may_go_on

    def allow_slow_reader(self) -> None:
        """For bulk connections: the peer's buffer may stay full.  Its control connection shows if the peer lives."""
        sock = self.extra("socket")
        if sock is not None:
            cast(socket.socket, sock).setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)

    @property
    def connected(self) -> bool:
        """Whether it ever was."""
        return self._transport is not None

    @property
    def congested(self) -> bool:
        """Whether what was written waits for a peer that does not read."""
        return not self._writable.is_set()

    @property
    def unsent_bytes(self) -> int:
        """How much of what was written is still here."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def lost(self) -> bool:
        return self._lost

    @property
    def waiting(self) -> bool:
        """Whether an incomplete frame is here."""
        return self._reader.pending()

    def extra(self, name: str) -> object:
        return None if self._transport is None else self._transport.get_extra_info(name)

    def _flush(self) -> None:
        if not self._outbox:
            return
        outbox, self._outbox = self._outbox, []
        if self._transport is None or self._lost:
            return
        self.written_s = time.monotonic()
        written = outbox[0] if len(outbox) == 1 else b"".join(outbox)
        self._traffic.sent += len(written)
        self._transport.write(written)

    def _read_preface(self, count: int) -> None:
        have = self._reader.raw(count)
        if len(have) < frames.PREFACE_BYTES:
            # A peer that is not gproc is refused at its first wrong byte: it may never send a whole preface.
            if not frames.MAGIC.startswith(bytes(have[: len(frames.MAGIC)])):
                raise PeerError(f"not a gproc peer: it began with {bytes(have)!r}")
            return
        assert self._transport is not None
        if self._accepting and not self._welcomed:
            self._transport.write(frames.preface(have[frames.PREFACE_BYTES - 1]))
        channel = frames.read_preface(have[: frames.PREFACE_BYTES])
        if self.channel is not None and channel != self.channel:
            raise PeerError(f"we opened channel {self.channel}, the peer answered for {channel}")
        self.channel = channel
        self._reader.skip(frames.PREFACE_BYTES)
        self._greeted = True
        if not self._opened.done():
            self._opened.set_result(channel)

    def _deliver(self, kind: int, payload: memoryview) -> None:
        if kind == frames.KIND_STDIO:
            self.receiver.on_stdio(self, *frames.read_stdio(payload))
        elif kind == frames.KIND_CONTROL:
            self.receiver.on_message(self, self.receiver.direction.decode(payload))
        elif kind == frames.KIND_INPUT:
            self.receiver.on_input(self, *frames.read_input(payload))
        else:
            self.receiver.on_piece(self, frames.read_piece(payload))

    def _unfinished(self) -> str:
        if not self._greeted:
            return "closed the connection before it sent its preface"
        return "closed the connection" + (" in the middle of a frame" if self._reader.pending() else "")


def explain(error: BaseException) -> str:
    """What ended a connection, in one line for people."""
    tls = sys.modules.get("gproc.trust.tls")
    if tls is not None and isinstance(error, OSError):
        explained: Callable[[BaseException], str] = tls.explain
        return explained(error)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def watch_link(sock: socket.socket, timeout_s: float) -> None:
    """Have the kernel end a connection on which sent data stays unacknowledged for UNACKNOWLEDGED_PART of the timeout.

    Source: TCP_USER_TIMEOUT, tcp(7).
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(timeout_s * UNACKNOWLEDGED_PART * 1000))
