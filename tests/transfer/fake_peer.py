"""A node that a test controls: it joins like any other node, and sends its peers what the test wants."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

import msgspec

from gproc.trust import tls
from gproc.trust.identity import Identity
from gproc.trust.ticket import Ticket
from gproc.wire import frames, messages
from tests.attack.peer import Peer, join_as
from tests.pieces import piece_frame

RECEIVED_BYTES: Final = 64 << 10

Answer = Callable[[bytes], bytes]
"""What a peer sends for a digest."""


def manifest_of(ticket: messages.Signed) -> bytes:
    """The digest of a ticket's bundle."""
    bundle = msgspec.msgpack.decode(ticket.payload[1:], type=Ticket).request.bundle
    assert bundle is not None
    return bundle.digest


def hear_piece(peer: Peer) -> frames.Piece:
    """The next piece of a chunk; there must be nothing before it."""
    reader = frames.FrameReader()
    while True:
        count = peer.socket.recv_into(reader.space())
        assert count, "the connection was closed before a piece came"
        for kind, payload in reader.frames(count):
            assert kind == frames.KIND_CHUNK
            return frames.read_piece(memoryview(bytes(payload)))


class FakePeer:
    """A node that joins, takes no part in its jobs, and answers its peers' wants with `answer`."""

    def __init__(self, port: int, identity: Identity, id: int, answer: Answer) -> None:
        self.has_sent = threading.Event()
        self._left = threading.Event()
        self._answer = answer
        self._context = tls.server_context(identity)
        self._listener = socket.create_server(("127.0.0.1", 0))
        own_port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        self.control, self.bulk = join_as(port, identity, id, own_port=own_port)
        self.control.hear(messages.Granted)
        threading.Thread(target=self._ping, daemon=True).start()

    def leave(self) -> None:
        self._left.set()
        self._listener.close()
        for peer in (self.control, self.bulk):
            peer.socket.close()

    def _ping(self) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, ValueError):
            while not self._left.wait(1.0):
                self.control.say(messages.Ping())

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, AssertionError):
            peer = Peer(self._context.wrap_socket(connection, server_side=True))
            peer.hear_preface().raw(frames.preface(frames.CHANNEL_PEER)).hear(messages.PeerHello)
            peer.say(messages.PeerReady())
            while True:
                for digest in peer.hear(messages.Want).digests:
                    wire = self._answer(digest)
                    for piece in frames.pieces(digest, frames.CODEC_RAW, wire):
                        peer.raw(piece_frame(piece))
                    self.has_sent.set()


def junk(digest: bytes) -> bytes:
    return os.urandom(1 << 20)
