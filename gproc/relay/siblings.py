"""Being fed by siblings: connections to those nodes that the parent named, for one bundle of one job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gproc.errors import LinkLost, StoreError, TrustError
from gproc.link.connection import HANDSHAKE_S, Link, Receiver
from gproc.relay.parent import open_link
from gproc.trust import tls
from gproc.trust.identity import Identity
from gproc.wire import frames, messages
from gproc.wire.messages import Fed, Feed, Lacking, Peer, Signed, Want

if TYPE_CHECKING:
    import ssl

    from gproc.store.supply import Supply

log = logging.getLogger("gproc")


class Feeder(Receiver):
    """A sibling that feeds this node: a `store.supply.Source`.  What it sends is believed when it has been hashed."""

    def __init__(self, supply: Supply, peer: Peer) -> None:
        self.link: Link | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supply = supply
        self._peer = peer

    def __str__(self) -> str:
        return f"{self._peer.name} at {self._peer.address}"

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        if self.link is None or self.link.lost:
            raise StoreError(f"{self._peer.name} is gone")
        self.link.send(Want(bundle, digests))

    def on_message(self, link: Link, message: messages.AnyMessage) -> None:
        match message:
            case Lacking(bundle, _, reason):
                self._supply.on_lacking(self, bundle, reason)
            case Fed() if not self.ready.done():
                self.ready.set_result(None)
            case _:
                super().on_message(link, message)

    def on_piece(self, link: Link, piece: frames.Piece) -> None:
        self._supply.on_piece(self, piece)

    def on_lost(self, link: Link, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(LinkLost(reason))
            self.ready.exception()
        self._supply.on_source_lost(self, reason)


class Siblings:
    """The feeders of one bundle; `connect` once, `close` when it is here."""

    def __init__(
        self, supply: Supply, identity: Identity, context: ssl.SSLContext, ticket: Signed,
        stripes: Sequence[Peer | None], link_timeout_s: float,
    ) -> None:  # fmt: skip
        self._supply = supply
        self._identity = identity
        self._context = context
        self._ticket = ticket
        self._link_timeout_s = link_timeout_s
        self._wanted: dict[Peer, list[int]] = {}
        for stripe, peer in enumerate(stripes):
            if peer is not None:
                self._wanted.setdefault(peer, []).append(stripe)
        self._links: list[Link] = []

    async def connect(self) -> list[tuple[Feeder, tuple[int, ...]]]:
        """Those that can be reached, and their stripes; what the others have comes from the parent."""
        found = await asyncio.gather(*(self._connect(peer) for peer in self._wanted))
        return [
            (feeder, tuple(self._wanted[peer]))
            for peer, feeder in zip(self._wanted, found, strict=True)
            if feeder is not None
        ]

    def close(self) -> None:
        for link in self._links:
            link.close()

    async def _connect(self, peer: Peer) -> Feeder | None:
        feeder = Feeder(self._supply, peer)
        host, _, port = peer.address.rpartition(":")
        expected = tls.ExpectedParent(host.strip("[]"), peer.name, is_master=False)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                link = await open_link(
                    expected, int(port), frames.CHANNEL_SIBLING, feeder, self._identity, self._context,
                    self._link_timeout_s,
                )  # fmt: skip
                self._links.append(link)
                link.allow_slow_reader()
                link.send(Feed(self._ticket))
                await feeder.ready
        except (LinkLost, TrustError, TimeoutError, ValueError) as error:
            log.info("cannot be fed by %s at %s: %s", peer.name, peer.address, error or "no answer")
            return None
        feeder.link = link
        return feeder

