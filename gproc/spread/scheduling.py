"""Which source is asked for which chunk, if a bundle has several sources.  Pure: time is an argument.

Each source has stripes of its own and is asked for a few of their chunks at a time, in order.  A source that has
delivered all of its own takes over chunks of a source that lags.  A source without stripes (the parent) is asked for
stripes that no other source has, and for chunks of sources that fell silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

STRIPES: Final = 2
"""A large bundle's chunks are split by number into even and odd.  Each stripe has its own tree through the siblings."""

OUTSTANDING: Final = 4
"""Chunks of 1 MiB asked of one source that have not arrived yet: enough for 400 MB/s at a round trip of 10 ms."""

LAG: Final = 3.0
"""A chunk is late if it takes this many times as long as another source's chunks do."""

SILENT_S: Final = 5.0
"""A source that sent nothing for this long is no longer waited for.  A lost connection is reported at once: this limit
is for a source that hangs, or is behind a cut link.  A slow link or a busy machine can be late by seconds.  A shorter
limit put every node's payload on the parent's link (bench/links.py, 40 hosts)."""

S = TypeVar("S")


class ChunkScheduler(Generic[S]):
    """The missing chunks of one bundle, and the sources that were asked for them."""

    def __init__(self, missing: Iterable[bytes], stripe_of: Callable[[bytes], int]) -> None:
        self.expected: frozenset[int] = frozenset()
        """Stripes whose source is about to be added: no other source is asked for them."""
        self._unasked: dict[int, dict[bytes, None]] = {}
        self.stripe_of = stripe_of
        self._stripes: dict[S, frozenset[int]] = {}
        self._asked: dict[S, dict[bytes, float]] = {}
        self._pace_s: dict[S, float] = {}
        self._heard_s: dict[S, float] = {}
        for digest in missing:
            self._unasked.setdefault(stripe_of(digest), {})[digest] = None

    def add(self, source: S, stripes: Iterable[int]) -> None:
        """Add a source, or give other stripes to one that was added before.

        A source without stripes is asked for the stripes that no other source has.
        """
        self._stripes[source] = frozenset(stripes)
        self._asked.setdefault(source, {})

    def remove(self, source: S) -> None:
        """The source is gone: other sources are asked for its chunks."""
        self._stripes.pop(source, None)
        self._pace_s.pop(source, None)
        self._heard_s.pop(source, None)
        for digest in reversed(list(self._asked.pop(source, {}))):
            self._put_back(digest)

    def ask_only(self, source: S) -> list[S]:
        """Ask only this source from now on, and only for what `want` names.  Returns the others, which are removed.

        What the source was asked for before is still expected of it.
        """
        others = [other for other in self._stripes if other is not source]
        for other in others:
            self.remove(other)
        self._unasked.clear()
        self.expected = frozenset()
        return others

    def want(self, digest: bytes) -> bool:
        """Ask for one more chunk, after all others.  Returns False if the chunk is queued or was asked for already."""
        unasked = self._unasked.setdefault(self.stripe_of(digest), {})
        if digest in unasked or any(digest in asked for asked in self._asked.values()):
            return False
        unasked[digest] = None
        return True

    def expects(self, source: S, digest: bytes) -> bool:
        """Whether the source was asked for the chunk and the chunk has not arrived."""
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
        """The source sent wrong bytes for the chunk: ask for it again."""
        self._asked.get(source, {}).pop(digest, None)
        self._put_back(digest)

    def ask(self, now_s: float) -> dict[S, tuple[bytes, ...]]:
        """The chunks to ask each source for now."""
        requests: dict[S, tuple[bytes, ...]] = {}
        for source in self._stripes:
            asked = self._asked[source]
            wanted: list[bytes] = []
            while len(asked) < OUTSTANDING and (digest := self._next(source, now_s)) is not None:
                asked[digest] = now_s
                wanted.append(digest)
            if wanted:
                requests[source] = tuple(wanted)
        return requests

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
        """A chunk of the other source: one that it was not asked for yet, else one that only it was asked for."""
        if digest := self._take(self._responsible(other)):
            return digest
        others = [asked for source, asked in self._asked.items() if source is not other]
        return next((digest for digest in self._asked[other] if not any(digest in asked for asked in others)), None)

    def _responsible(self, source: S) -> list[int]:
        """The source's own stripes; if it has none, the stripes that no source has."""
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
        """The next chunk of the stripe with most chunks left, so that no stripe runs ahead: receivers wait for both."""
        unasked = max((self._unasked.get(stripe, {}) for stripe in stripes), key=len, default={})
        if not unasked:
            return None
        digest = next(iter(unasked))
        del unasked[digest]
        return digest

    def _put_back(self, digest: bytes) -> None:
        """Ask for the chunk again, before all others, unless another source was asked for it already.

        Receivers of this node get chunks in order, and may be waiting for it.
        """
        if any(digest in asked for asked in self._asked.values()):
            return
        stripe = self.stripe_of(digest)
        self._unasked[stripe] = {digest: None} | self._unasked.get(stripe, {})
