"""Receiving from peers: connections to the siblings that the parent named, for one bundle of one job."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, assert_never

from gproc.addresses import bracketed
from gproc.errors import LinkLost, PeerError, StoreError, TrustError
from gproc.link.connection import Link, Receiver
from gproc.link.dialing import open_link
from gproc.link.transport import HANDSHAKE_S
from gproc.spread.scheduling import STRIPES
from gproc.trust import tls
from gproc.trust.endpoint import Endpoint
from gproc.wire import frames
from gproc.wire.directions import PEER_TO_PEER, PeerToPeer
from gproc.wire.messages import Peer, PeerHello, PeerReady, Signed, Unavailable, Want

if TYPE_CHECKING:
    from gproc.spread.fetching import BundleFetcher
    from gproc.spread.transfer import Transfer

log = logging.getLogger("gproc")


class PeerSource(Receiver[PeerToPeer]):
    """A peer that sends us a bundle, as a `spread.transfer.Source`."""

    direction = PEER_TO_PEER

    def __init__(self, fetcher: BundleFetcher, peer: Peer) -> None:
        self.link: Link | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fetcher = fetcher
        self._peer = peer

    def __str__(self) -> str:
        return f"{self._peer.name} at {bracketed(self._peer.address)}"

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

    def on_message(self, link: Link, message: PeerToPeer) -> None:
        match message:
            case Unavailable(bundle, _, reason):
                self._fetcher.on_unavailable(self, bundle, reason)
            case PeerReady():
                if self.ready.done():
                    raise PeerError("a second PeerReady")
                self.ready.set_result(None)
            case Want():
                raise PeerError("Want from a node that sends chunks")
            case _:
                assert_never(message)

    def on_piece(self, link: Link, piece: frames.Piece) -> None:
        self._fetcher.on_piece(self, piece)

    def on_lost(self, link: Link, reason: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(LinkLost(reason))
            self.ready.exception()
        self._fetcher.on_source_lost(self, reason)


class PeerSources:
    """The peers that send us one bundle, one for each stripe.  Call `close()` when the bundle is complete.

    If a peer cannot be reached or goes away, its chunks come from the parent until the parent names another peer.
    """

    def __init__(
        self, fetcher: BundleFetcher, endpoint: Endpoint, ticket: Signed, sources: tuple[Peer | None, ...],
        link_timeout_s: float,
    ) -> None:  # fmt: skip
        self._fetcher = fetcher
        self._endpoint = endpoint
        self._ticket = ticket
        self._link_timeout_s = link_timeout_s
        self._sources = sources[:STRIPES]
        self.needed = asyncio.Event()
        """Set when the missing chunks are known and there are some."""
        self._transfer: Transfer | None = None
        self._connecting: dict[Peer, asyncio.Task[None]] = {}
        self._connected: dict[Peer, PeerSource] = {}

    def begin(self, transfer: Transfer) -> None:
        """Connect to the peers, because chunks are missing."""
        self._transfer = transfer
        self.needed.set()
        self.change(self._sources)

    def change(self, sources: tuple[Peer | None, ...]) -> None:
        """Receive from these peers from now on."""
        sources = self._sources = sources[:STRIPES]
        if self._transfer is None:
            return
        named = {peer for peer in sources if peer is not None}
        for peer in self._connecting.keys() - named:
            self._connecting.pop(peer).cancel()
        for peer, source in list(self._connected.items()):
            if peer not in named or source.lost:
                self._fetcher.remove_source(self._transfer, source)
                source.leave()
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
        for source in self._connected.values():
            source.leave()

    def _stripes(self, peer: Peer) -> list[int]:
        return [stripe for stripe, source in enumerate(self._sources) if source == peer]

    def _expect(self, transfer: Transfer) -> None:
        transfer.expect(stripe for peer in self._connecting for stripe in self._stripes(peer))

    async def _connect(self, transfer: Transfer, peer: Peer) -> None:
        source = PeerSource(self._fetcher, peer)
        host, _, port = peer.address.rpartition(":")
        expected = tls.ExpectedParent(host.strip("[]"), peer.name, is_master=False)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                source.link = await open_link(
                    expected, int(port), frames.CHANNEL_PEER, source, self._endpoint, self._link_timeout_s
                )
                source.link.allow_slow_reader()
                source.link.send(PeerHello(self._ticket))
                await source.ready
        except (LinkLost, TrustError, TimeoutError, ValueError) as error:
            log.info("cannot receive from %s at %s: %s", peer.name, bracketed(peer.address), error or "no answer")
            source.leave()
        except asyncio.CancelledError:
            source.leave()
            raise
        else:
            self._connected[peer] = source
            transfer.add(source, self._stripes(peer))
        self._connecting.pop(peer, None)
        self._expect(transfer)
