"""The other end of a connection, in the hands of a test: it says what it likes."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections import deque
from typing import Final, TypeVar, Union

import msgspec

from gproc.node.voice import Voice
from gproc.relay.delivery import EMPTY
from gproc.request.outcome import Outcome
from gproc.trust import tls
from gproc.trust.identity import Identity
from gproc.trust.outcomes import SignedEnd
from gproc.trust.ticket import Ticket
from gproc.wire import frames, messages
from gproc.wire.directions import DIRECTIONS, Direction
from gproc.wire.endings import RankEnded
from tests.patience import PATIENCE_S

PING_S: Final = 1.0
"""A node that says nothing for 4 s is taken for a frozen one."""

M = TypeVar("M", bound=messages.Message)

ANY: Final[Direction[messages.Message]] = Direction(
    "of anybody",
    Union[tuple({kind for direction in DIRECTIONS for kind in direction.messages})],  # type: ignore[arg-type]  # noqa: UP007
)

"""A test accepts every message of the protocol."""


class Peer:
    """Frames over a connected socket, blocking."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        self.socket = connection
        self._reader = frames.FrameReader()
        self._received: deque[tuple[int, bytes]] = deque()
        self.passed_over: deque[messages.Message] = deque(maxlen=1000)
        """Messages that came while `hear` waited for another kind, the latest."""
        self.alive: tuple[Peer, ...] = ()
        """Connections of a tree, on which this test says that it lives while it waits here."""
        self._pinged_s = 0.0
        self.voice = Voice()
        """The key that this test signs with, as a node."""
        self.stdio: list[bytes] = []
        """The same as whole frames."""
        self.output = b""
        """What came as output of programs while `hear` waited for a message."""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def raw(self, data: bytes) -> Peer:
        self.socket.sendall(data)
        return self

    def greet(self, channel: int) -> Peer:
        """Both prefaces, ours first."""
        return self.raw(frames.preface(channel)).hear_preface()

    def hear_preface(self) -> Peer:
        preface = b""
        while len(preface) < frames.PREFACE_BYTES:
            piece = self.socket.recv(frames.PREFACE_BYTES - len(preface))
            assert piece, "closed instead of a preface"
            preface += piece
        frames.read_preface(preface)
        return self

    def say(self, *said: messages.Message) -> Peer:
        return self.raw(b"".join(messages.frame(message) for message in said))

    def hear(self, kind: type[M] | tuple[type[M], ...]) -> M:
        """The next message of this type, or of one of these; what else comes is passed over."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            while self._received:
                number, payload = self._received.popleft()
                if number == frames.KIND_CONTROL:
                    message = ANY.decode(memoryview(payload))
                    if isinstance(message, kind):
                        return message
                    self.passed_over.append(message)
                elif number == frames.KIND_STDIO:
                    self.output += frames.read_stdio(memoryview(payload))[4]
                    self.stdio.append(frames.stdio_frame(*frames.read_stdio(memoryview(payload))))
            self._receive(until_s)

    def has(self, kind: type[messages.Message]) -> bool:
        """Whether a message of this type was passed over or is here."""
        return any(isinstance(message, kind) for message in self.passed_over)

    def hear_input(self, job: int) -> frames.InputBlock:
        """The next block of standard input of this job; what else comes is passed over."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            while self._received:
                number, payload = self._received.popleft()
                if number == frames.KIND_INPUT:
                    of, block = frames.read_input(memoryview(payload))
                    if of == job:
                        return block
            self._receive(until_s)

    def _receive(self, until_s: float) -> None:
        """until_s: when to give up waiting for a peer of a tree; its heartbeats alone would never end the wait."""
        count = self._wait(until_s) if self.alive else self.socket.recv_into(self._reader.space())
        assert count, "closed"
        self._received.extend((number, bytes(payload)) for number, payload in self._reader.frames(count))

    def _wait(self, until_s: float) -> int:
        self.socket.settimeout(PING_S)
        try:
            while True:
                if time.monotonic() > until_s:
                    raise TimeoutError("what was to come has not come")
                if time.monotonic() > self._pinged_s + PING_S:
                    ping(*self.alive)
                    self._pinged_s = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    return self.socket.recv_into(self._reader.space())
        finally:
            self.socket.settimeout(PATIENCE_S)

    def hear_the_end(self) -> None:
        """Wait until the other end closes; what it says before does not matter."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except (ConnectionResetError, ssl.SSLError, BrokenPipeError):
            return


def ping(*peers: Peer) -> None:
    for peer in peers:
        with contextlib.suppress(OSError):
            peer.say(messages.Ping())


def dial(port: int, identity: Identity | None) -> Peer:
    """TCP and TLS to a command port of this machine; without an identity, without a certificate."""
    if identity is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = tls.client_context(identity)
    return Peer(context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE_S)))


def dial_unix(path: object) -> Peer:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE_S)
    connection.connect(str(path))
    return Peer(connection)


def node_of(identity: Identity, voice: Voice, port: int = 1, dials: str = "") -> messages.NodeInfo:
    """A genuine node, which proves its identity."""
    proof = voice.proof(identity)
    return messages.NodeInfo(identity.name, f":{port}", voice.nonce, "", time.time(), dials=dials, proof=proof)


def signed_end(voice: Voice, run: messages.Run, rank: int, outcome: Outcome, job: int | None = None) -> RankEnded:
    """A silent program's end, as a node signs it."""
    session = _tickets.decode(memoryview(run.ticket.payload)[1:]).session
    end = SignedEnd(session, run.job if job is None else job, rank, run.size, outcome, (0, 0), (EMPTY, EMPTY))
    return RankEnded(run.job, rank, voice.sign(end))


def end_in(ended: RankEnded) -> SignedEnd:
    assert ended.signed is not None, ended.reason
    return _ends.decode(memoryview(ended.signed.payload)[1:])


_tickets = msgspec.msgpack.Decoder(Ticket)
_ends = msgspec.msgpack.Decoder(SignedEnd)


def node_named(name: str, port: int = 1) -> messages.NodeInfo:
    return messages.NodeInfo(name, f":{port}", os.urandom(16), "", time.time())


class Parent:
    """A false parent, which listens at the address that a slave dials."""

    def __init__(self, identity: Identity) -> None:
        self._context = tls.server_context(identity)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Parent:
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.close()

    def accept(self) -> Peer:
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE_S)
        return Peer(self._context.wrap_socket(connection, server_side=True))

    def adopt(self, id: int) -> tuple[Peer, Peer, messages.Join]:
        """Take a slave in as a parent does: its control and bulk connections, and how it introduced itself."""
        control = self.accept().hear_preface().raw(frames.preface(frames.CHANNEL_CONTROL))
        join = control.hear(messages.Join)
        control.say(messages.Welcome(id, "127.0.0.1"))
        bulk = self.accept().hear_preface().raw(frames.preface(frames.CHANNEL_BULK))
        bulk.hear(messages.Attach)
        return control, bulk, join


def join_as(port: int, identity: Identity, id: int, *, own_port: int = 1, dials: str = "") -> tuple[Peer, Peer]:
    """Be a node below the parent at `port`: control and bulk.  dials: as it says that it has reached that parent."""
    token = os.urandom(16)
    control = dial(port, identity).greet(frames.CHANNEL_CONTROL)
    control.say(messages.Join(token, id, True, node_of(identity, control.voice, own_port, dials)))
    control.hear(messages.Welcome)
    control.alive = (control,)
    bulk = dial(port, identity).greet(frames.CHANNEL_BULK).say(messages.Attach(token))
    return control, bulk
