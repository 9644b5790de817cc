"""Being fed by siblings: connections to those nodes that the parent named, for one bundle of one job."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gproc.errors import LinkLost, StoreError, TrustError
from gproc.link.connection import Link, Receiver
from gproc.link.transport import HANDSHAKE_S
from gproc.relay.parent import open_link
from gproc.trust import tls
from gproc.trust.identity import Identity
from gproc.wire import frames, messages
from gproc.wire.messages import Fed, Feed, Lacking, Peer, Signed, Want

if TYPE_CHECKING:
    import ssl

    from gproc.store.supply import Supply
    from gproc.store.transfer import Transfer

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
        if self.lost or self.link is None:
            raise StoreError(f"{self._peer.name} is gone")
        self.link.send(Want(bundle, digests))

    @property
    def lost(self) -> bool:
        return self.link is None or self.link.lost

    def leave(self) -> None:
        if self.link is not None:
            self.link.close()

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
    """Those who feed us one bundle, by stripe; `store.supply.Helpers`.  `close` when it is here.

    What a sibling is to bring that cannot be reached, or is gone, comes from the parent, until the parent names
    another.
    """

    def __init__(
        self, supply: Supply, identity: Identity, context: ssl.SSLContext, ticket: Signed,
        feeders: tuple[Peer | None, ...], link_timeout_s: float,
    ) -> None:  # fmt: skip
        self._supply = supply
        self._identity = identity
        self._context = context
        self._ticket = ticket
        self._link_timeout_s = link_timeout_s
        self._feeders = feeders
        self.needed = asyncio.Event()
        """Something is missing here, and it is known what."""
        self._transfer: Transfer | None = None
        self._connecting: dict[Peer, asyncio.Task[None]] = {}
        self._connected: dict[Peer, Feeder] = {}

    def begin(self, transfer: Transfer) -> None:
        """Connect to those who have what is missing here."""
        self._transfer = transfer
        self.needed.set()
        self.change(self._feeders)

    def change(self, feeders: tuple[Peer | None, ...]) -> None:
        """These feed us from now on."""
        self._feeders = feeders
        if self._transfer is None:
            return
        named = {peer for peer in feeders if peer is not None}
        for peer in self._connecting.keys() - named:
            self._connecting.pop(peer).cancel()
        for peer, feeder in list(self._connected.items()):
            if peer not in named or feeder.lost:
                self._supply.remove_source(self._transfer, feeder)
                feeder.leave()
                del self._connected[peer]
        for peer in named:
            if peer in self._connected:
                self._transfer.add(self._connected[peer], self._stripes(peer))
            elif peer not in self._connecting:
                self._connecting[peer] = asyncio.create_task(self._connect(self._transfer, peer))
        self._expect(self._transfer)

    def close(self) -> None:
        for connecting in self._connecting.values():
            connecting.cancel()
        for feeder in self._connected.values():
            feeder.leave()

    def _stripes(self, peer: Peer) -> list[int]:
        return [stripe for stripe, feeder in enumerate(self._feeders) if feeder == peer]

    def _expect(self, transfer: Transfer) -> None:
        transfer.expect(stripe for peer in self._connecting for stripe in self._stripes(peer))

    async def _connect(self, transfer: Transfer, peer: Peer) -> None:
        feeder = Feeder(self._supply, peer)
        host, _, port = peer.address.rpartition(":")
        expected = tls.ExpectedParent(host.strip("[]"), peer.name, is_master=False)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                feeder.link = await open_link(
                    expected, int(port), frames.CHANNEL_SIBLING, feeder, self._identity, self._context,
                    self._link_timeout_s,
                )  # fmt: skip
                feeder.link.allow_slow_reader()
                feeder.link.send(Feed(self._ticket))
                await feeder.ready
        except (LinkLost, TrustError, TimeoutError, ValueError) as error:
            log.info("cannot be fed by %s at %s: %s", peer.name, peer.address, error or "no answer")
            feeder.leave()
        except asyncio.CancelledError:
            feeder.leave()
            raise
        else:
            self._connected[peer] = feeder
            transfer.add(feeder, self._stripes(peer))
        self._connecting.pop(peer, None)
        self._expect(transfer)
