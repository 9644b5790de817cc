"""The rule of `--fanout`: a job runs on so many nodes at a time, also if nodes end, fail or cannot be reached."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gproc.service.window import Window


class Windows(RuleBasedStateMachine):
    @initialize(ranks=st.integers(0, 12), size=st.integers(1, 5), max_fail=st.none() | st.integers(1, 3))
    def begin(self, ranks: int, size: int, max_fail: int | None) -> None:
        self.size, self.max_fail = size, max_fail
        self.window = Window(range(ranks), size, max_fail)
        self.waiting = set(range(ranks))
        self.running: set[int] = set()
        self.unreachable: set[int] = set()
        self.failed = 0

    @rule()
    def take(self) -> None:
        shut = self.max_fail is not None and self.failed >= self.max_fail
        free = 0 if shut or self.window.held else self.size - len(self.running)
        expected = sorted(self.waiting - self.unreachable)[:free]
        assert self.window.take(lambda rank: rank not in self.unreachable) == expected
        self.waiting -= set(expected)
        self.running |= set(expected)

    @rule(data=st.data(), failed=st.booleans())
    def end(self, data: st.DataObject, failed: bool) -> None:
        rank = data.draw(st.integers(0, 13))
        self.window.ended(rank, failed=failed)
        if rank in self.waiting | self.running:
            self.failed += failed
            self.waiting.discard(rank)
            self.running.discard(rank)

    @rule(data=st.data())
    def lose_or_find_way(self, data: st.DataObject) -> None:
        self.unreachable ^= {data.draw(st.integers(0, 12))}

    @rule(held=st.booleans())
    def hold(self, held: bool) -> None:
        self.window.held = held

    @rule(ranks=st.none() | st.sets(st.integers(0, 13)))
    def drop(self, ranks: set[int] | None) -> None:
        expected = self.waiting if ranks is None else self.waiting & ranks
        assert set(self.window.drop(None if ranks is None else sorted(ranks))) == expected
        self.waiting -= expected

    @invariant()
    def what_waits_is_what_has_neither_begun_nor_ended(self) -> None:
        assert set(self.window) == self.waiting
        assert len(self.window) == len(self.waiting)
        assert self.window.failed == self.failed
        assert len(self.running) <= self.size


TestWindows = Windows.TestCase
