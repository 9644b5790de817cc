"""The bundles that clients offer, and which client the master asks for chunks that it lacks."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from gproc.errors import StoreError
from gproc.spread.fetching import BundleFetcher
from gproc.spread.transfer import Source
from gproc.wire import frames
from gproc.wire.messages import Want

if TYPE_CHECKING:
    from gproc.link.connection import Link

log = logging.getLogger("gproc")

PATIENCE_S: Final = 2.0
"""Seconds that a client has for a chunk while others offer the bundle too.  It is on this machine, and a chunk has
1 MiB: a client that takes longer was stopped, reads a very slow disk, or stays silent on purpose."""


class Offering(NamedTuple):
    """A client that offers a bundle, and its user."""

    client: Link
    uid: int


class _Offered:
    """What is known of one bundle.  The master asks the first of `offers`, which is never empty.

    wanted: when each chunk was asked for that has not come yet, by the event loop's clock, the oldest first.
    """

    def __init__(self, patience_s: float) -> None:
        self.offers: list[Offering] = []
        self.wanted: dict[bytes, float] = {}
        self.patience_s = patience_s
        self.timer: asyncio.TimerHandle | None = None


class BundleOffers:
    """Clients by the bundle that they offer.

    The master asks one client of a bundle at a time.  It asks the next one if that client goes, cannot give a chunk,
    sends wrong bytes, or does not send a chunk in time.  In the last two cases this client and all others of its user
    come last from then on.  So a user can hold up another user's job for one patience at most, even with many
    connections.
    """

    def __init__(self, fetcher: BundleFetcher, source: Source, patience_s: float = PATIENCE_S) -> None:
        """source: the source that the fetcher asks; it calls `ask`."""
        self._fetcher = fetcher
        self._source = source
        self._patience_s = patience_s
        self._bundles: dict[bytes, _Offered] = {}

    def add(self, bundle: bytes, client: Link, uid: int) -> None:
        known = self._bundles.setdefault(bundle, _Offered(self._patience_s))
        offering = Offering(client, uid)
        if offering not in known.offers:
            known.offers.append(offering)
            self._watch(bundle, known)

    def ask(self, bundle: bytes, digests: tuple[bytes, ...]) -> None:
        """Raises: StoreError if no client offers the bundle any more."""
        known = self._bundles.get(bundle)
        if known is None:
            raise StoreError("no client offers this bundle any more")
        log.debug("bundle %s: a client is asked for %d chunks", bundle.hex()[:16], len(digests))
        self._ask_first(bundle, known, digests)

    def withdraw(self, client: Link, reason: str) -> None:
        """The client is gone: chunks that no other client offers are unavailable."""
        for bundle in list(self._bundles):
            self.unavailable(client, bundle, reason)

    def unavailable(self, client: Link, bundle: bytes, reason: str) -> None:
        """A client cannot give this bundle: ask the next client that offers it for the rest."""
        known = self._bundles.get(bundle)
        if known is None:
            return
        left = [offer for offer in known.offers if offer.client is not client]
        if len(left) == len(known.offers):
            return
        was_asked = known.offers[0].client is client
        known.offers = left
        if not left:
            self._forget(bundle)
            self._fetcher.on_unavailable(self._source, bundle, reason)
        elif was_asked:
            self._ask_first(bundle, known, tuple(known.wanted))

    def replace(self, bundle: bytes) -> bool:
        """The client that is asked for this bundle sent wrong bytes.  Returns whether another is asked from now on."""
        known = self._bundles.get(bundle)
        if known is None or len(known.offers) < 2:
            return False
        self._ask_next(bundle, known, "sent wrong bytes")
        return True

    def on_piece(self, client: Link, piece: frames.Piece) -> None:
        """Take a piece of a chunk.  Ignore it if this client was not asked for the chunk, or if it comes too late."""
        for known in self._bundles.values():
            if piece.digest in known.wanted and client is known.offers[0].client:
                if piece.is_last:
                    del known.wanted[piece.digest]
                self._fetcher.on_piece(self._source, piece)
                return

    def _ask_first(self, bundle: bytes, known: _Offered, digests: tuple[bytes, ...]) -> None:
        if not digests:
            return
        now_s = asyncio.get_running_loop().time()
        for digest in digests:
            known.wanted.pop(digest, None)
            known.wanted[digest] = now_s
        known.offers[0].client.send(Want(bundle, digests))
        self._watch(bundle, known)

    def _ask_next(self, bundle: bytes, known: _Offered, why: str) -> None:
        failed = known.offers[0]
        log.info("bundle %s: a client of uid %d %s, so another is asked", bundle.hex()[:16], failed.uid, why)
        known.offers.sort(key=lambda offer: (offer.uid == failed.uid, offer is failed))
        self._ask_first(bundle, known, tuple(known.wanted))

    def _watch(self, bundle: bytes, known: _Offered) -> None:
        """Look again when the oldest chunk is overdue.  If only one client offers the bundle, it has all the time that
        it wants."""
        if known.timer is None and known.wanted and len(known.offers) > 1:
            loop = asyncio.get_running_loop()
            due_s = next(iter(known.wanted.values())) + known.patience_s
            known.timer = loop.call_at(due_s, self._look, bundle, known)

    def _look(self, bundle: bytes, known: _Offered) -> None:
        known.timer = None
        if known.wanted and len(known.offers) > 1:
            oldest_s = next(iter(known.wanted.values()))
            if oldest_s + known.patience_s <= asyncio.get_running_loop().time():
                known.patience_s *= 2  # if all clients are slow, one of them must be able to finish
                self._ask_next(bundle, known, "did not send a chunk in time")
        self._watch(bundle, known)

    def _forget(self, bundle: bytes) -> None:
        known = self._bundles.pop(bundle)
        if known.timer is not None:
            known.timer.cancel()
