"""Which source gives a node its runtime: the front end, or another node that has just got it.

A node asks its rack master, or a sibling below the same one: never a node of another rack, so that no link carries
more than the tree does.  A node hands on what has come to it while the rest is on its way, so the front end sends one
copy to its own children, and one to a rack in which no node has the archive.  A node that has got only a part waits for
one that has the whole archive, or for the front end, which then sends to its children two at a time.  The front end
also sends to each node for which two others have failed, and to all nodes if they do not reach each other.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from gproc.start.plan import Standing
from gproc.start.ssh import Channel

TOKEN_BYTES: Final = 16

GUESTS: Final = 2
"""At a time, for each source: while one unpacks, the other's bytes fill the link.  native/serve.c takes some more.

Nodes that hand on what is still coming to them form a tree by this: a slow one keeps back few others, and not all after
it.
"""

ALIKE_FAILURES: Final = 3
"""If this many more nodes could not get it from another than could, a firewall is between them, and no node is asked
any more.

If it was still coming to the others themselves, the front end may have a slow link: then a node asks only those that
have all of it.
"""


class Giver(msgspec.Struct, frozen=True):
    """A node that hands the runtime on.  token: of the nodes that may have it.  digest: of the runtime."""

    name: str
    address: str
    port: int
    token: bytes
    digest: str


class Permit(msgspec.Struct, frozen=True):
    """What a node may do now.  source: None for the front end.  coming: to the source it is still coming itself."""

    family: str
    source: Giver | None
    coming: bool = False


class _Offer:
    """depth: through how many others its bytes come while they come; 0 if all are there."""

    def __init__(self, source: Giver, families: tuple[str, ...]) -> None:
        self.source = source
        self.families = families
        self.depth = 0
        self.guests = 0
        self.good = True
        self.channel: Channel | None = None


class ParentFailed(Exception):
    """The node's parent is not up, so it needs no runtime."""


class Supply:
    """The supply of one start.  A family is the nodes below one parent, by the parent's name; "" for the master's
    children."""

    def __init__(self, standings: Iterable[Standing]) -> None:
        self._parents = {standing.name: standing.parent for standing in standings}
        self._unsettled = set(self._parents)
        self._failed: set[str] = set()
        self._pending = Counter(self._parents.values())
        self._offers: dict[str, _Offer] = {}
        """What nodes offer now, by the node's name: not what has been withdrawn."""
        self._by_source: dict[Giver, _Offer] = {}
        """Whatever was offered: guests of what has been withdrawn end too."""
        self._by_family: dict[str, list[_Offer]] = {}
        """The same, by the nodes that may use it."""
        self._sending: Counter[str] = Counter()
        self._failures = self._stalls = 0
        self._changes: dict[str, asyncio.Event] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @staticmethod
    def token() -> bytes:
        return secrets.token_bytes(TOKEN_BYTES)

    async def parent_settled(self, name: str) -> None:
        """Wait until this node's parent has the runtime, unless it is not one of those that are started now.

        A node must not begin before: homes may be shared, and a node that begins keeps others of that home waiting.
        Raises: ParentFailed.
        """
        family = self._parents[name]
        while family in self._unsettled:
            await self._changes.setdefault(family, asyncio.Event()).wait()
        if family in self._failed:
            raise ParentFailed

    async def turn(self, name: str, digest: str, *, whole: bool = False) -> Permit:
        """Wait until this node can be given the runtime of that digest; its parent is settled.  `ended` must follow.

        whole: only by a node that has all of it, or from the front end.
        """
        family = self._parents[name]
        if whole:
            self._withdraw(name)
        while (turn := self._turn(family, digest, whole)) is None:
            await self._changes.setdefault(family, asyncio.Event()).wait()
        return turn

    def own_turn(self, name: str) -> Permit:
        """For a node that must get it from the front end, now."""
        family = self._parents[name]
        self._sending[family] += 1
        return Permit(family, None)

    def _turn(self, family: str, digest: str, whole: bool) -> Permit | None:
        no_parts = self._stalls >= ALIKE_FAILURES
        offers = [
            offer for offer in self._by_family.get(family, ())
            if offer.good and offer.source.digest == digest and not (offer.depth and (whole or no_parts))
        ]  # fmt: skip
        free = [offer for offer in offers if offer.guests < GUESTS]
        if free and self._failures < ALIKE_FAILURES:
            offer = min(free, key=lambda each: (each.depth, each.guests))
            offer.guests += 1
            return Permit(family, offer.source, coming=offer.depth > 0)
        may_send = GUESTS if not family else 0 if offers else 1
        if self._failures >= ALIKE_FAILURES or self._sending[family] < may_send:
            self._sending[family] += 1
            return Permit(family, None)
        return None

    def ended(self, turn: Permit, *, came: bool, some: bool = False) -> None:
        """came: the node has the runtime now.  some: it has not, but more of it than before."""
        if turn.source is None:
            self._sending[turn.family] -= 1
        else:
            offer = self._by_source[turn.source]
            offer.guests -= 1
            offer.good = offer.good and came
            change = -1 if came else 0 if some else 1
            if turn.coming:
                self._stalls += change
            else:
                self._failures += change
            for family in offer.families:
                self._changed(family)
        self._changed(turn.family)

    def offer(self, source: Giver, coming_from: Permit | None = None) -> None:
        """This node gives the archive to nodes that show its token.  coming_from: while it gets the archive itself."""
        depth = 0
        if coming_from is not None:
            depth = 1 if coming_from.source is None else self._by_source[coming_from.source].depth + 1
        self._withdraw(source.name)
        offer = self._by_source.get(source)
        if offer is None:
            families = (self._parents[source.name], source.name)
            offer = self._by_source[source] = _Offer(source, families)
            for family in families:
                self._by_family.setdefault(family, []).append(offer)
        self._offers[source.name] = offer
        offer.good = True
        offer.depth = depth
        for family in offer.families:
            self._changed(family)

    def _withdraw(self, name: str) -> None:
        offer = self._offers.pop(name, None)
        if offer is not None:
            offer.good = False

    def has_it(self, name: str, source: Giver | None) -> None:
        """This node has the runtime.  source: what it is for others; None if they cannot get it there."""
        if source is None:
            self._withdraw(name)
        else:
            self.offer(source)
        self.settled(name)

    def settled(self, name: str, *, failed: bool = False) -> None:
        """This node has the runtime, or needs it no more.  The second time it says nothing new but a failure."""
        if failed:
            self._failed.add(name)
            self._withdraw(name)
        if name in self._unsettled:
            self._unsettled.remove(name)
            self._pending[self._parents[name]] -= 1
            for offer in self._by_family.get(self._parents[name], ()):
                self._close_if_needless(offer)
        self._changed(name)
        self._changed(self._parents[name])

    def keep(self, name: str, channel: Channel) -> bool:
        """Whether that node's channel stays open for others, until `close` at the latest."""
        offer = self._offers.get(name)
        if offer is None or not self._is_needed(offer):
            return False
        offer.channel = channel
        return True

    async def close(self) -> None:
        for offer in self._offers.values():
            self._close(offer)
        if self._closing:
            await asyncio.wait(self._closing)

    def _is_needed(self, offer: _Offer) -> bool:
        return any(self._pending[family] for family in offer.families)

    def _close_if_needless(self, offer: _Offer) -> None:
        if not self._is_needed(offer):
            self._close(offer)

    def _close(self, offer: _Offer) -> None:
        if offer.channel is not None:
            self._closing.add(asyncio.ensure_future(offer.channel.close()))
            offer.channel = None

    def _changed(self, family: str) -> None:
        self._changes.pop(family, asyncio.Event()).set()
