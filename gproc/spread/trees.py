"""Who feeds whom among the children of one node, for a payload that is worth it.  Pure: time is an argument.

A star of n children puts n payloads on their parent's link.  Here the payload has two stripes (chunks of even and
of odd number), and each stripe comes down a binary tree of its own through the children, whose inner nodes are the
leaves of the other's: so the parent sends each stripe once, every child sends about as much as it receives, and the
last child is log2(n) hops away, not n.  (Two-tree broadcast: Sanders, Speck and Träff, Parallel Computing 35, 2009.)

An inner node with a slow link holds back everybody below it.  So children report what they lack, and one that is
found slow becomes a leaf of both trees while the payload is on its way.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Sequence
from math import inf
from typing import Final, Generic, NamedTuple, TypeVar

MIN_BROADCAST_BYTES: Final = 4 << 20
"""From this size on, children feed each other: bench/transfer.py.  Below it, connections cost more than they save."""

MIN_CHILDREN: Final = 2
"""Of two children, each gives the other the half that it was sent: their parent sends one payload instead of two."""

WINDOWS_S: Final = (0.6, 1.2, 2.4, 4.8)
"""Rates are taken over the shortest of these that has `EVIDENCE_BYTES`.  The least time that TCP waits before it
repeats a lost segment is 0.2 s on Linux, twice that the second time: one such pause leaves a third of any window, as
do most that a busy processor makes.  Windows of 0.4 s found a slow child sooner, and others with it (bench/links.py).
"""

EVIDENCE_BYTES: Final = 512 << 10
"""What an edge usually moves within a window, at least: a third of it is more than a piece of 128 KiB, and by pieces
reports go."""

KEPT_S: Final = 2 * WINDOWS_S[-1]
"""So old may a report be that a window needs: its own length, and the time for which the other end was silent."""

SLOW_SHARE: Final = 1 / 4
"""Who moves less than this part of what is usual is slow.  Links that differ by 40 % either way stay well above it."""

BACKLOG_BYTES: Final = 256 << 10
"""A child that is so far behind its feeder does not starve: one piece can be on its way, another waits."""

WORTHWHILE_BYTES: Final = 2 << 20
"""With less to go, a new feeder hardly pays: some 0.3 s pass until it delivers.  And towards the end, flows that share
a link are uneven: one that is through with its part leaves its room to some of the others first."""

SILENT_S: Final = 0.6
"""Who has missed three reports is taken to have received nothing since the last."""

MAX_SLOW_PART: Final = 4
"""One child of so many may be slow, and one of fewer.  Where it is more, it is not their links but, say, a machine that
they share: everything is uneven there, and new connections are what it can least afford."""

SLOW_LOAD: Final = 1 / 2
"""What a slow leaf takes of its feeder, where a healthy child takes 1.  A tenth of the usual rate would be 0.1, but
who was slow with the last payload may be as fast as any with this one."""

T = TypeVar("T")


def sources(children: Sequence[T]) -> dict[T, tuple[T | None, ...]]:
    """For each child, who feeds it each stripe; None: the parent.

    Stripe 0 goes down a heap over the children in their order, stripe 1 down one in the opposite order, so that who
    is in the first half is an inner node of the one and a leaf of the other.
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
    """The trees over the children that are there; those that are slow are leaves.

    Each stripe reaches every healthy child through healthy ones only, and a healthy child feeds at most two others,
    both stripes counted together, besides slow ones.  So does the parent.  With fewer than `MIN_CHILDREN` healthy
    ones, the parent feeds everybody.
    """

    def __init__(self, children: Sequence[T], slow: Collection[T]) -> None:
        self.slow = {child for child in children if child in slow}
        self.by: dict[T, tuple[T | None, ...]] = dict.fromkeys(children, (None, None))
        """Who feeds each child each stripe; None: the parent."""
        if self.shared():
            self.by |= sources(self.healthy())
            for child in children:
                if child in self.slow:
                    self._attach(child, 0)
                    self._attach(child, 1)

    def healthy(self) -> list[T]:
        return [child for child in self.by if child not in self.slow]

    def shared(self) -> bool:
        """Whether children feed each other."""
        return len(self.by) - len(self.slow) >= MIN_CHILDREN

    def demote(self, child: T) -> None:
        """The child is slow.  One that feeds nobody stays where it is."""
        self.slow.add(child)
        if self._hand_on(child, self.by[child]):
            self._attach(child, 0)
            self._attach(child, 1)

    def remove(self, child: T) -> None:
        """The child is gone."""
        heirs = self.by.pop(child)
        self.slow.discard(child)
        self._hand_on(child, heirs)

    def _hand_on(self, child: T, heirs: tuple[T | None, ...]) -> bool:
        """Whom the child fed is fed by its feeders, so that none of them feeds more than before, or by the parent.

        Returns whether the child needs other feeders than those.
        """
        if not self.shared():
            self.by = dict.fromkeys(self.by, (None, None))
            return False
        orphans = [(fed, stripe) for fed, by in self.by.items() for stripe, source in enumerate(by) if source == child]
        healthy = [orphan for orphan in orphans if orphan[0] not in self.slow]
        takes = {orphan: heirs[orphan[1]] for orphan in healthy}
        if len(healthy) == 2 and healthy[0][1] == healthy[1][1]:
            # One heir was its feeder in the other stripe, and may be below one of the two in this one, not below both.
            stripe = healthy[0][1]
            other = heirs[1 - stripe]
            takes[next(orphan for orphan in healthy if not self._is_below(other, *orphan))] = other
        for (fed, stripe), heir in takes.items():
            self._feed(fed, stripe, heir)
        for fed, stripe in orphans:
            if fed in self.slow:
                self._attach(fed, stripe)
        return bool(orphans)

    def _attach(self, child: T, stripe: int) -> None:
        """Have a slow child fed by who has most room."""
        load: defaultdict[T | None, float] = defaultdict(float)
        for fed, by in self.by.items():
            for other, source in enumerate(by):
                if (fed, other) != (child, stripe):
                    load[source] += SLOW_LOAD if fed in self.slow else 1
        self._feed(child, stripe, min(self.healthy(), key=load.__getitem__))

    def _feed(self, child: T, stripe: int, source: T | None) -> None:
        by = list(self.by[child])
        by[stripe] = source
        self.by[child] = tuple(by)

    def _is_below(self, node: T | None, top: T, stripe: int) -> bool:
        """Whether `top` is on the way to the node, or is it.  A way ends at the parent, or at one that is gone."""
        while node in self.by and node != top:
            node = self.by[node][stripe]
        return node == top


class _Course:
    """What one node lacked, as time went by: bytes of each stripe."""

    def __init__(self) -> None:
        self._reports: deque[tuple[float, tuple[int, ...]]] = deque()

    def add(self, now_s: float, left: tuple[int, ...]) -> None:
        self._reports.append((now_s, left))
        while len(self._reports) > 1 and self._reports[1][0] < now_s - KEPT_S:
            self._reports.popleft()

    def end_s(self, now_s: float) -> float:
        """Until when it is known."""
        last_s, left = self._reports[-1]
        return now_s if any(left) and now_s - last_s > SILENT_S else last_s

    def at(self, time_s: float) -> tuple[float, ...] | None:
        """What it lacked then; None: that was before its first report."""
        after_s, after = inf, self._reports[-1][1]
        for before_s, before in reversed(self._reports):
            if before_s <= time_s:
                part = (time_s - before_s) / (after_s - before_s)
                return tuple(old + part * (new - old) for old, new in zip(before, after, strict=True))
            after_s, after = before_s, before
        return None


class _Moved(NamedTuple):
    """What came to a child within a window: bytes of each stripe that it lacked at both ends, and bytes per second."""

    begin_s: float
    end_s: float
    before: tuple[float, ...]
    after: tuple[float, ...]
    rates: tuple[float, ...]

    def rate(self) -> float:
        return sum(self.rates)


class BroadcastTrees(Generic[T]):
    """The trees of one payload through the children of one node, repaired as it turns out who is slow.

    slow: children that were slow with an earlier payload: they are leaves from the start.
    now_s, in all methods: seconds of one clock that never goes back.
    """

    def __init__(self, children: Sequence[T], slow: Collection[T] = ()) -> None:
        self._trees = Trees(children, slow)
        self._doubted = frozenset(self._trees.slow)
        self._courses: dict[T | None, _Course] = {}
        self._now_s = -inf
        self._since_s = -inf
        self._fed_since_s: dict[tuple[T, int], float] = {}
        self._most_usual = 0.0
        self.recovered: set[T] = set()
        """Those that were slow with an earlier payload and receive this one as others do.  How fast they send is not
        known: they feed nobody."""

    @property
    def slow(self) -> frozenset[T]:
        """Children that were slow from the start or were found slow, and are not gone."""
        return frozenset(self._trees.slow)

    def sources_of(self, child: T) -> tuple[T | None, ...]:
        """Who feeds it each stripe; None: the parent.  Raises: KeyError where it is gone."""
        return self._trees.by[child]

    def report(self, child: T | None, left: tuple[int, ...], now_s: float) -> None:
        """What a child still lacks, in bytes of each stripe, counted as pieces come and not by whole chunks.

        Due as soon as it knows what it lacks, about every 0.2 s from then on, and when it has everything.  None is
        the parent, where it is still receiving itself; without reports it has everything.
        """
        self._pass_time(now_s)
        self._courses.setdefault(child, _Course()).add(now_s, left)

    def remove(self, child: T) -> dict[T, tuple[T | None, ...]]:
        """The child is gone: the children whose feeders changed, with those of both stripes.

        Raises: KeyError where it was gone already.
        """
        before = dict(self._trees.by)
        self._trees.remove(child)
        self._courses.pop(child, None)
        return self._changes(before)

    def review(self, now_s: float) -> dict[T, tuple[T | None, ...]]:
        """Find who is slow by what was reported: the children whose feeders changed, with those of both stripes.

        Due about as often as one child reports, and where nobody reports as well.
        """
        self._pass_time(now_s)
        before = dict(self._trees.by)
        moved, usual = self._measure(now_s)
        if usual:
            self._forgive(moved, usual)
            if self._trees.shared():
                room = max(1, len(before) // MAX_SLOW_PART) - len(self._trees.slow)
                for child in self._at_fault(moved, usual)[: max(0, room)]:
                    self._trees.demote(child)
        return self._changes(before)

    def _pass_time(self, now_s: float) -> None:
        # Where nothing at all is heard, it was this node that stood still, and reports that waited have wrong times.
        if now_s - self._now_s > WINDOWS_S[0]:
            self._since_s = now_s
        self._now_s = now_s

    def _changes(self, before: dict[T, tuple[T | None, ...]]) -> dict[T, tuple[T | None, ...]]:
        changed = {child: by for child, by in self._trees.by.items() if by != before[child]}
        for child, by in changed.items():
            for stripe, source in enumerate(by):
                if source != before[child][stripe]:
                    self._fed_since_s[child, stripe] = self._now_s
        return changed

    def _measure(self, now_s: float) -> tuple[dict[T, _Moved], float]:
        """What came to each child within its last window, and the usual rate of an edge, in bytes per second.

        That is half of what comes to the median child of both stripes together: below a slow one near a root most
        starve in one stripe, but go on in the other.  0.0: nothing is usual yet.
        """
        counted = self._trees.healthy() if self._trees.shared() else list(self._trees.by)
        for window_s in WINDOWS_S:
            moved = {}
            for child in self._trees.by:
                if (what := self._moved(child, now_s, window_s)) is not None:
                    moved[child] = what
            rates = [moved[child].rate() for child in counted if child in moved]
            usual = sorted(rates)[len(rates) // 2] / 2 if rates else 0.0
            if usual * window_s >= EVIDENCE_BYTES:
                return moved, usual
        return {}, 0.0

    def _moved(self, child: T, now_s: float, window_s: float) -> _Moved | None:
        course = self._courses.get(child)
        if course is None:
            return None
        end_s = course.end_s(now_s)
        begin_s = end_s - window_s
        before, after = course.at(begin_s), course.at(end_s)
        if before is None or after is None or begin_s < self._since_s:
            return None
        # It lacks more than before where the feeder of a half-sent chunk was changed.
        rates = tuple(max(0.0, old - new) / window_s for old, new in zip(before, after, strict=True))
        return _Moved(begin_s, end_s, before, after, rates)

    def _forgive(self, moved: dict[T, _Moved], usual: float) -> None:
        # Towards the end most children wait for their last pieces: nobody is as fast as others because of that.
        self._most_usual = max(self._most_usual, usual)
        for child in self._doubted & moved.keys():
            if moved[child].rate() >= SLOW_SHARE * 2 * self._most_usual:
                self.recovered.add(child)

    def _at_fault(self, moved: dict[T, _Moved], usual: float) -> list[T]:
        """Children whose links make edges slow, the slowest first.

        Either end of an edge can be at fault, but not one through which enough passes altogether, and not the parent.
        """
        sent: defaultdict[T | None, float] = defaultdict(float)
        slow: list[tuple[T | None, T, int]] = []
        for child in self._trees.healthy():
            for stripe, source in enumerate(self._trees.by[child]):
                what = moved.get(child)
                if what is None or self._fed_since_s.get((child, stripe), -inf) > what.begin_s:
                    continue
                sent[source] += what.rates[stripe]
                if what.after[stripe] < WORTHWHILE_BYTES:
                    continue
                if what.rates[stripe] < SLOW_SHARE * usual and self._had_backlog(source, stripe, what):
                    slow.append((source, child, stripe))
        out = Counter(source for source, _, _ in slow)
        enough = SLOW_SHARE * 2 * usual
        blamed: dict[T, float] = {}
        unclear: list[tuple[T, T, int]] = []
        for source, child, stripe in slow:
            received = moved[child].rate()
            if source is None or sent[source] >= enough:
                if received < enough:
                    blamed[child] = received
            elif received >= enough:
                if out[source] > 1:
                    blamed[source] = sent[source]
            else:
                unclear.append((source, child, stripe))
        for source, child, stripe in unclear:
            if source in blamed or child in blamed:
                continue
            if sum(other == child for _, other, _ in unclear) > 1:
                blamed[child] = moved[child].rate()
            elif not moved[child].before[1 - stripe] and out[source] > 1:
                # It had no trouble with its other half.  One whose other half has not come yet may be slow itself.
                blamed[source] = sent[source]
        return sorted(blamed, key=blamed.__getitem__)

    def _had_backlog(self, source: T | None, stripe: int, what: _Moved) -> bool:
        """Whether, at both ends of the window, the feeder had much that the child lacked."""
        return all(
            (at := self._lacked(source, time_s)) is not None and left[stripe] - at[stripe] >= BACKLOG_BYTES
            for time_s, left in ((what.begin_s, what.before), (what.end_s, what.after))
        )

    def _lacked(self, node: T | None, time_s: float) -> tuple[float, ...] | None:
        course = self._courses.get(node)
        if course is None:
            return (0.0, 0.0) if node is None else None
        return course.at(time_s)
