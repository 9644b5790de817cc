"""Which chunk is asked of whom, when a bundle has several sources.  Pure: time is an argument.

Each source has the stripes that it is there for, and is kept busy with a few chunks of those, in order.  One that is
through with its own takes from another that lags.  A source without stripes is there for what nobody else is, and for
those who have fallen silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

STRIPES: Final = 2
"""A large bundle's chunks, by number: even and odd.  Each stripe has its own way through the siblings."""

OUTSTANDING: Final = 4
"""Chunks asked of one source and not yet here: at a round trip of 10 ms, 400 MB/s."""

LAG: Final = 3.0
"""A chunk is late when it takes so many times as long as another source's chunks do."""

SILENT_S: Final = 5.0
"""A source of which nothing is heard for so long is not waited for.  A source that is gone is known to be gone; this is
for one that hangs, or lies behind a cut link.  A slow link or a busy machine is late by seconds, and taking over from
those that are only late puts everybody's payload on the parent's link (bench/links.py, 40 hosts)."""

S = TypeVar("S")


class ChunkScheduler(Generic[S]):
    """The missing chunks of one bundle, and who was asked for which.

    stripe_of: the stripe of a chunk.  A source that is there for no stripe in particular takes what nobody else is
    there for.
    """

    def __init__(self, missing: Iterable[bytes], stripe_of: Callable[[bytes], int]) -> None:
        self.expected: frozenset[int] = frozenset()
        """Stripes for which a source is about to be added: nobody else is asked for them."""
        self._unasked: dict[int, dict[bytes, None]] = {}
        self.stripe_of = stripe_of
        self._stripes: dict[S, frozenset[int]] = {}
        self._asked: dict[S, dict[bytes, float]] = {}
        self._pace_s: dict[S, float] = {}
        self._heard_s: dict[S, float] = {}
        for digest in missing:
            self._unasked.setdefault(stripe_of(digest), {})[digest] = None

    def add(self, source: S, stripes: Iterable[int]) -> None:
        """A new source, or other stripes for one that was added before."""
        self._stripes[source] = frozenset(stripes)
        self._asked.setdefault(source, {})

    def remove(self, source: S) -> None:
        """The source is gone; what was asked of it is asked of others."""
        self._stripes.pop(source, None)
        self._pace_s.pop(source, None)
        self._heard_s.pop(source, None)
        for digest in reversed(list(self._asked.pop(source, {}))):
            self._put_back(digest)

    def expects(self, source: S, digest: bytes) -> bool:
        """Whether the source was asked for the chunk, which is not here yet."""
        return digest in self._asked.get(source, {})

    def arrived(self, source: S, digest: bytes, now_s: float) -> None:
        asked_s = self._asked.get(source, {}).pop(digest, None)
        if asked_s is not None:
            took_s = now_s - asked_s
            self._pace_s[source] = (3 * self._pace_s.get(source, took_s) + took_s) / 4
        for asked in self._asked.values():
            asked.pop(digest, None)
        self._unasked.get(self.stripe_of(digest), {}).pop(digest, None)

    def heard(self, source: S, now_s: float) -> None:
        """A piece came from the source."""
        if source in self._stripes:
            self._heard_s[source] = now_s

    def corrupt(self, source: S, digest: bytes) -> None:
        """What came was not it; it is asked for again."""
        self._asked.get(source, {}).pop(digest, None)
        self._put_back(digest)

    def ask(self, now_s: float) -> dict[S, tuple[bytes, ...]]:
        """What to ask of whom now."""
        orders: dict[S, tuple[bytes, ...]] = {}
        for source in self._stripes:
            asked = self._asked[source]
            wanted: list[bytes] = []
            while len(asked) < OUTSTANDING and (digest := self._next(source, now_s)) is not None:
                asked[digest] = now_s
                wanted.append(digest)
            if wanted:
                orders[source] = tuple(wanted)
        return orders

    def _next(self, source: S, now_s: float) -> bytes | None:
        if digest := self._take(self._responsible(source)):
            return digest
        if self._asked[source]:
            return None
        for other in self._stripes:
            if other is not source and self._lags(other, source, now_s):
                return self._take_over(other)
        return None

    def _take_over(self, other: S) -> bytes | None:
        """Something that is the other's to bring: what it was not asked for yet, else what only it was asked for."""
        if digest := self._take(self._responsible(other)):
            return digest
        others = [asked for who, asked in self._asked.items() if who is not other]
        return next((digest for digest in self._asked[other] if not any(digest in asked for asked in others)), None)

    def _responsible(self, source: S) -> list[int]:
        """Its own stripes; for a source without any, those that nobody has."""
        if self._stripes[source]:
            return sorted(self._stripes[source])
        return sorted(set(self._unasked) - self.expected.union(*self._stripes.values()))

    def _lags(self, other: S, than: S, now_s: float) -> bool:
        asked = self._asked[other]
        if not asked:
            return False
        oldest_s = min(asked.values())
        silent = now_s - max(oldest_s, self._heard_s.get(other, 0.0)) > SILENT_S
        pace_s = self._pace_s.get(than)
        slow = pace_s is not None and bool(self._stripes[than]) and now_s - oldest_s > LAG * pace_s
        return silent or slow

    def _take(self, stripes: Iterable[int]) -> bytes | None:
        """The next chunk of these stripes, of which none runs ahead: others wait for each."""
        unasked = max((self._unasked.get(stripe, {}) for stripe in stripes), key=len, default={})
        if not unasked:
            return None
        digest = next(iter(unasked))
        del unasked[digest]
        return digest

    def _put_back(self, digest: bytes) -> None:
        """To be asked for again, first of all, where nobody else is asked for it already: those who are fed with
        chunks in their order may be waiting for it."""
        if any(digest in asked for asked in self._asked.values()):
            return
        stripe = self.stripe_of(digest)
        self._unasked[stripe] = {digest: None} | self._unasked.get(stripe, {})
