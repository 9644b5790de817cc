"""Decides which child of one node sends which part of a payload to which other.  Pure: time is an argument.

A star of n children puts n payloads on their parent's link.  Here the payload has two stripes (chunks of even and
of odd number).  Each stripe comes down a binary tree of its own through the children, and the inner nodes of one tree
are the leaves of the other.  So the parent sends each stripe once, every child sends about as much as it receives, and
the last child is log2(n) hops away, not n.
Source of the two-tree broadcast: Sanders, Speck and Träff, Parallel Computing 35, 2009.

An inner node with a slow link holds back every node below it.  Therefore children report what they lack, and a child
that is found slow becomes a leaf of both trees while the payload is on its way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from math import inf
from typing import Final, Generic, TypeVar

from gproc.spread.blame import Edge, Evidence, slow_children
from gproc.spread.progress import EVIDENCE_BYTES, WINDOWS_S, Received, StripeHistory

MIN_CHILDREN: Final = 2
"""Two children each send the other the half that they received: their parent sends one payload instead of two."""

SLOW_SHARE: Final = 1 / 4
"""A child is slow if its rate is below this fraction of the usual rate.  Links that differ by 40 % stay well above."""

BACKLOG_BYTES: Final = 256 << 10
"""A child that is this far behind its source has enough to receive: one piece can be on its way while another waits."""

WORTHWHILE_BYTES: Final = 2 << 20
"""A child with less than this to go keeps its source: a new one takes some 0.3 s until it delivers.  Rates are uneven
towards the end as well: a source that is done with one child has more room for only some of the others."""

MAX_SLOW_PART: Final = 4
"""At most one child in this many may be slow, and one if there are fewer.  If more seem slow, the cause is not their
links but, for example, a machine that they share.  Rates are uneven there, and new connections would make it worse."""

SLOW_LOAD: Final = 1 / 2
"""The load that a slow leaf is to its source; a healthy child is 1.  A tenth of the usual rate would be 0.1, but a
child that was slow with the last payload may be fast with this one."""

T = TypeVar("T")


def two_trees(children: Sequence[T]) -> dict[T, tuple[T | None, ...]]:
    """The source of each stripe for each child; None is the parent.

    Stripe 0 comes down a heap over the children in their order, stripe 1 down a heap in the opposite order.  So a child
    in the first half is an inner node of the first tree and a leaf of the second.
    """
    count = len(children)
    plan: dict[T, tuple[T | None, ...]] = {}
    for place, child in enumerate(children):
        mirrored = count - 1 - place
        first = None if place == 0 else children[(place - 1) // 2]
        second = None if mirrored == 0 else children[count - 1 - (mirrored - 1) // 2]
        plan[child] = (first, second)
    return plan


class Trees(Generic[T]):
    """The two trees over the children that are connected; slow children are leaves.

    Each stripe reaches every healthy child through healthy children only.  A healthy child sends to at most two healthy
    ones, both stripes counted together, and may send to slow ones besides; the same holds for the parent.  With fewer
    than `MIN_CHILDREN` healthy children, the parent sends to all of them.
    """

    def __init__(self, children: Sequence[T], slow: Collection[T]) -> None:
        self.slow = {child for child in children if child in slow}
        self.sources: dict[T, tuple[T | None, ...]] = dict.fromkeys(children, (None, None))
        """The source of each stripe for each child; None is the parent."""
        if self.shared():
            self.sources |= two_trees(self.healthy())
            for child in children:
                if child in self.slow:
                    self._attach(child, 0)
                    self._attach(child, 1)

    def healthy(self) -> list[T]:
        return [child for child in self.sources if child not in self.slow]

    def shared(self) -> bool:
        """Whether children send to each other."""
        return len(self.sources) - len(self.slow) >= MIN_CHILDREN

    def demote(self, child: T) -> None:
        """Make a slow child a leaf.  A child that is a leaf already stays where it is."""
        self.slow.add(child)
        if self._replace(child, self.sources[child]):
            self._attach(child, 0)
            self._attach(child, 1)

    def remove(self, child: T) -> None:
        """Take a child out that is gone."""
        its_sources = self.sources.pop(child)
        self.slow.discard(child)
        self._replace(child, its_sources)

    def _replace(self, child: T, its_sources: tuple[T | None, ...]) -> bool:
        """Give each receiver of the child another source.

        Healthy receivers take the child's two places at its own sources, so that none of these sends more than before.
        Slow ones go to the source with most room.  Returns whether the child needs new sources itself.
        """
        if not self.shared():
            self.sources = dict.fromkeys(self.sources, (None, None))
            return False
        receivers = self._receivers_of(child)
        healthy = [receiver for receiver in receivers if receiver[0] not in self.slow]
        for (receiver, stripe), source in self._successors(healthy, its_sources).items():
            self._set_source(receiver, stripe, source)
        for receiver, stripe in receivers:
            if receiver in self.slow:
                self._attach(receiver, stripe)
        return bool(receivers)

    def _receivers_of(self, child: T) -> list[tuple[T, int]]:
        """The children that the child sends to, each with the stripe."""
        return [
            (receiver, stripe)
            for receiver, sources in self.sources.items()
            for stripe, source in enumerate(sources)
            if source == child
        ]

    def _successors(
        self, receivers: list[tuple[T, int]], its_sources: tuple[T | None, ...]
    ) -> dict[tuple[T, int], T | None]:
        """Which of a child's sources sends to each of its (at most two) healthy receivers in its place."""
        successors = {(receiver, stripe): its_sources[stripe] for receiver, stripe in receivers}
        stripes = {stripe for _, stripe in receivers}
        if len(receivers) == 2 and len(stripes) == 1:
            # Both need the same stripe.  The source that sent the child its other stripe may be below one of the two in
            # this stripe's tree, but not below both.
            other_source = its_sources[1 - stripes.pop()]
            chosen = next(receiver for receiver in receivers if not self._is_below(other_source, *receiver))
            successors[chosen] = other_source
        return successors

    def _attach(self, child: T, stripe: int) -> None:
        """Give a slow child the healthy source with the least load."""
        load: defaultdict[T | None, float] = defaultdict(float)
        for receiver, sources in self.sources.items():
            for other_stripe, source in enumerate(sources):
                if (receiver, other_stripe) != (child, stripe):
                    load[source] += SLOW_LOAD if receiver in self.slow else 1
        self._set_source(child, stripe, min(self.healthy(), key=load.__getitem__))

    def _set_source(self, child: T, stripe: int, source: T | None) -> None:
        sources = list(self.sources[child])
        sources[stripe] = source
        self.sources[child] = tuple(sources)

    def _is_below(self, node: T | None, top: T, stripe: int) -> bool:
        """Whether `top` is the node, or on its way up.  The way ends at the parent, or at a child that is gone."""
        while node in self.sources and node != top:
            node = self.sources[node][stripe]
        return node == top


class BroadcastTrees(Generic[T]):
    """The trees of one payload through the children of one node, repaired when a child is found slow.

    slow: children that were slow with an earlier payload: they are leaves from the start.
    now_s, in all methods: seconds of one clock that never goes back.
    """

    def __init__(self, children: Sequence[T], slow: Collection[T] = ()) -> None:
        self._trees = Trees(children, slow)
        self._slow_before = frozenset(self._trees.slow)
        self._progress: dict[T | None, StripeHistory] = {}
        self._now_s = -inf
        self._trusted_since_s = -inf
        self._source_since_s: dict[tuple[T, int], float] = {}
        self._highest_usual_rate = 0.0
        self.recovered: set[T] = set()
        """Children that were slow with an earlier payload and receive this one as fast as others.  They send to no
        other child, because it is not known how fast they send."""

    @property
    def slow(self) -> frozenset[T]:
        """Children that were slow from the start or were found slow, and are not gone."""
        return frozenset(self._trees.slow)

    def sources_of(self, child: T) -> tuple[T | None, ...]:
        """The child's source of each stripe; None is the parent.  Raises: KeyError if the child is gone."""
        return self._trees.sources[child]

    def report(self, child: T | None, missing: tuple[int, ...], now_s: float) -> None:
        """What a child still lacks, in bytes of each stripe, counted in pieces and not in whole chunks.

        A child reports as soon as it knows what it lacks, about every 0.2 s from then on, and when it has everything.
        None is the parent, which reports only while it is receiving itself.
        """
        self._pass_time(now_s)
        self._progress.setdefault(child, StripeHistory()).add(now_s, missing)

    def remove(self, child: T) -> dict[T, tuple[T | None, ...]]:
        """Take a child out that is gone.  Returns the children with a new source, each with its sources.

        Raises: KeyError if the child was gone already.
        """
        before = dict(self._trees.sources)
        self._trees.remove(child)
        self._progress.pop(child, None)
        return self._changes(before)

    def review(self, now_s: float) -> dict[T, tuple[T | None, ...]]:
        """Find slow children by their reports.  Returns the children with a new source, each with its sources.

        Call it about as often as one child reports, even if no report came.
        """
        self._pass_time(now_s)
        before = dict(self._trees.sources)
        received, usual_rate = self._measure(now_s)
        if usual_rate:
            self._find_recovered(received, usual_rate)
            if self._trees.shared():
                room = max(1, len(before) // MAX_SLOW_PART) - len(self._trees.slow)
                for child in slow_children(self._evidence(received, usual_rate))[: max(0, room)]:
                    self._trees.demote(child)
        return self._changes(before)

    def _pass_time(self, now_s: float) -> None:
        # If nothing at all was heard, this node itself stood still, and the reports that waited have wrong times.
        if now_s - self._now_s > WINDOWS_S[0]:
            self._trusted_since_s = now_s
        self._now_s = now_s

    def _changes(self, before: dict[T, tuple[T | None, ...]]) -> dict[T, tuple[T | None, ...]]:
        changed = {child: sources for child, sources in self._trees.sources.items() if sources != before[child]}
        for child, sources in changed.items():
            for stripe, source in enumerate(sources):
                if source != before[child][stripe]:
                    self._source_since_s[child, stripe] = self._now_s
        return changed

    def _measure(self, now_s: float) -> tuple[dict[T, Received], float]:
        """What each child received within its last window, and the usual rate of an edge, in bytes per second.

        The usual rate is half of what the median child receives of both stripes together: most children below a slow
        one starve in one stripe but go on in the other.  It is 0.0 as long as no window has enough evidence.
        """
        counted = self._trees.healthy() if self._trees.shared() else list(self._trees.sources)
        for window_s in WINDOWS_S:
            received = {}
            for child in self._trees.sources:
                progress = self._progress.get(child)
                what = progress.received(now_s, window_s, self._trusted_since_s) if progress else None
                if what is not None:
                    received[child] = what
            rates = [received[child].rate() for child in counted if child in received]
            usual_rate = sorted(rates)[len(rates) // 2] / 2 if rates else 0.0
            if usual_rate * window_s >= EVIDENCE_BYTES:
                return received, usual_rate
        return {}, 0.0

    def _find_recovered(self, received: dict[T, Received], usual_rate: float) -> None:
        # The usual rate drops towards the end, when most children wait for their last pieces.  The highest one counts.
        self._highest_usual_rate = max(self._highest_usual_rate, usual_rate)
        for child in self._slow_before & received.keys():
            if received[child].rate() >= SLOW_SHARE * 2 * self._highest_usual_rate:
                self.recovered.add(child)

    def _evidence(self, received: dict[T, Received], usual_rate: float) -> Evidence[T]:
        """The slow edges to healthy children, and what each node sent to those."""
        sent: defaultdict[T | None, float] = defaultdict(float)
        slow_edges: list[Edge[T]] = []
        for child in self._trees.healthy():
            if (what := received.get(child)) is None:
                continue
            for stripe, source in enumerate(self._trees.sources[child]):
                if self._source_since_s.get((child, stripe), -inf) > what.begin_s:
                    continue
                sent[source] += what.rates[stripe]
                is_worthwhile = what.missing_after[stripe] >= WORTHWHILE_BYTES
                is_slow = what.rates[stripe] < SLOW_SHARE * usual_rate
                if is_worthwhile and is_slow and self._had_backlog(source, stripe, what):
                    slow_edges.append(Edge(source, child, stripe))
        return Evidence(slow_edges, received, sent, SLOW_SHARE * 2 * usual_rate)

    def _had_backlog(self, source: T | None, stripe: int, what: Received) -> bool:
        """Whether the source had much that the child lacked, at both ends of the window."""
        return all(
            (at_source := self._missing_at(source, time_s)) is not None
            and missing[stripe] - at_source[stripe] >= BACKLOG_BYTES
            for time_s, missing in ((what.begin_s, what.missing_before), (what.end_s, what.missing_after))
        )

    def _missing_at(self, node: T | None, time_s: float) -> tuple[float, ...] | None:
        """None if it is not known.  A parent that never reported has everything."""
        progress = self._progress.get(node)
        if progress is None:
            return (0.0, 0.0) if node is None else None
        return progress.missing_at(time_s)
