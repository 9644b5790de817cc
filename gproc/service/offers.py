"""The bundles that clients offer, and which client the master asks for chunks that it lacks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gproc.errors import StoreError
from gproc.spread.fetching import BundleFetcher
from gproc.spread.transfer import Source
from gproc.wire import frames
from gproc.wire.messages import Want

if TYPE_CHECKING:
    from gproc.link.connection import Link

log = logging.getLogger("gproc")


class BundleOffers:
    """Clients by the bundle that they offer.  The master asks the first client of a bundle; if that fails, the next."""

    def __init__(self, fetcher: BundleFetcher, source: Source) -> None:
        """source: the source that the fetcher asks; it calls `ask`."""
        self._fetcher = fetcher
        self._source = source
        self._offers: dict[bytes, list[Link]] = {}
        self._wanted: dict[bytes, set[bytes]] = {}
        """By bundle: the chunks that a client was asked for and has not sent yet."""

    def add(self, bundle: bytes, client: Link) -> None:
        offering = self._offers.setdefault(bundle, [])
        if client not in offering:
            offering.append(client)

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        """Raises: StoreError if no client offers the bundle any more."""
        offering = self._offers.get(bundle)
        if not offering:
            raise StoreError("no client offers this bundle any more")
        self._wanted.setdefault(bundle, set()).update(digests)
        log.debug("bundle %s: a client is asked for %d chunks", bundle.hex()[:16], len(digests))
        offering[0].send(Want(bundle, digests))

    def withdraw(self, client: Link, reason: str) -> None:
        """The client is gone: chunks that no other client offers are unavailable."""
        for bundle in list(self._offers):
            self.unavailable(client, bundle, reason)

    def unavailable(self, client: Link, bundle: bytes, reason: str) -> None:
        """A client cannot give this bundle: ask the next client that offers it for the rest."""
        offering = self._offers.get(bundle, [])
        if client not in offering:
            return
        was_asked = client is offering[0]
        offering.remove(client)
        if not offering:
            del self._offers[bundle]
            self._wanted.pop(bundle, None)
            self._fetcher.on_unavailable(self._source, bundle, reason)
        elif was_asked and self._wanted.get(bundle):
            offering[0].send(Want(bundle, tuple(self._wanted[bundle])))

    def on_piece(self, client: Link, piece: frames.Piece) -> None:
        """Take a piece of a chunk.  Ignore it if this client was not asked for the chunk, or if it comes too late."""
        for bundle, wanted in self._wanted.items():
            if piece.digest in wanted and client is self._offers[bundle][0]:
                if piece.is_last:
                    wanted.discard(piece.digest)
                    if not wanted:
                        del self._wanted[bundle]
                self._fetcher.on_piece(self._source, piece)
                return
