"""Runs a job on a bounded number of nodes at a time: which of its ranks may begin, and which never will.  Pure.

Ranks begin in their order, which is that of the nodes in the tree.  A rank whose node cannot be reached when its turn
has come waits, and those after it do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from gproc.nodespec import Place

INPUT_FOR_TURNS_BYTES: Final = 16 << 20
"""Standard input of one job that the master keeps for nodes that wait for their turn."""

TASKS_SPARE_BYTES: Final = 4 << 20
"""Orders of one job of tasks that go to others while a node cannot be reached: some 100,000 short tasks."""


SPARE_HOPS: Final = 2
"""Standard input is kept for the longest way of a job and so many hops more: each hop holds a window at most."""


def kept_hops(hops: int) -> int:
    """So many windows of standard input are kept, if the longest way of a job has so many hops."""
    return hops + SPARE_HOPS


def input_sizes(places: Sequence[Place], window_bytes: int, *, tasks: bool, turns: bool) -> tuple[int, int]:
    """How much standard input of a job is kept for nodes that may need it again, and how much more the others get
    while a node cannot be reached."""
    kept_bytes = kept_hops(max(map(len, places))) * window_bytes
    return max(kept_bytes, INPUT_FOR_TURNS_BYTES if turns else 0), TASKS_SPARE_BYTES if tasks else 0


class Window:
    """size: how many may run at a time.  max_fail: after this many failures no more begin; None: all begin.

    A rank waits, or has its turn, or has ended.  held: whether none may begin for now.  noted: the ranks that have
    their turn and are sent the job when that is on the disk.
    """

    def __init__(self, ranks: Iterable[int], size: int, max_fail: int | None) -> None:
        self._size = size
        self._max_fail = max_fail
        self._waiting = dict.fromkeys(sorted(ranks))
        self._running: set[int] = set()
        self._failed = 0
        self.held = False
        self.noted: set[int] = set()

    def __contains__(self, rank: object) -> bool:
        """Whether it has not had its turn."""
        return rank in self._waiting

    def __iter__(self) -> Iterator[int]:
        """The ranks that have not had their turn."""
        return iter(list(self._waiting))

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def failed(self) -> int:
        """How many have failed."""
        return self._failed

    @property
    def is_shut(self) -> bool:
        """Whether so many have failed that no more begin."""
        return self._max_fail is not None and self._failed >= self._max_fail

    def go_on(self, waiting: Iterable[int], *, held: bool) -> None:
        """At a master that comes back: these have not had their turn, and all others have."""
        left = set(waiting)
        self._running.update(rank for rank in self if rank not in left)
        self._waiting = dict.fromkeys(rank for rank in self if rank in left)
        self.held = held

    def take(self, reachable: Callable[[int], bool]) -> list[int]:
        """The ranks whose turn it is now."""
        free = 0 if self.held or self.is_shut else self._size - len(self._running)
        taken: list[int] = []
        for rank in self:
            if len(taken) >= free:
                break
            if reachable(rank):
                taken.append(rank)
                del self._waiting[rank]
        self._running.update(taken)
        return taken

    def ended(self, rank: int, *, failed: bool) -> None:
        """A rank has ended, whether or not it had its turn."""
        if rank in self._waiting or rank in self._running:
            self._waiting.pop(rank, None)
            self._running.discard(rank)
            self._failed += failed

    def drop(self, ranks: Iterable[int] | None = None) -> list[int]:
        """These will not have their turn; None: none of those that wait.  Returns those that waited."""
        dropped = [rank for rank in (self if ranks is None else ranks) if rank in self._waiting]
        for rank in dropped:
            del self._waiting[rank]
        return dropped
