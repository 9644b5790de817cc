"""Serves chunks of a job's bundle to another node that has the same job."""

from __future__ import annotations

import logging

from gproc.errors import PeerError
from gproc.link.connection import Link, Receiver
from gproc.spread.sending import ChunkProvider, ChunkSender
from gproc.wire.directions import PEER_TO_PEER, PeerToPeer
from gproc.wire.messages import Want

log = logging.getLogger("gproc")


class ServedPeer(Receiver[PeerToPeer]):
    """A node that has the same job as this one, and gets the job's bundle from here."""

    direction = PEER_TO_PEER

    def __init__(self, owner: ChunkProvider, link: Link, bundle: bytes) -> None:
        self._bundle = bundle
        self._sender = ChunkSender(owner, link)

    def on_message(self, link: Link, message: PeerToPeer) -> None:
        try:
            if not isinstance(message, Want):
                raise PeerError(f"{type(message).__name__} from a node that asks for chunks")
            if message.bundle != self._bundle:
                raise PeerError("it wants a bundle that is not its job's")
            self._sender.want(message)
        except PeerError as error:
            log.warning("refused %s: %s", link.peer, error)
            raise

    def on_lost(self, link: Link, reason: str) -> None:
        self._sender.stop()
