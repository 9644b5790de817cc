"""Notices jobs that this node only relayed, and that no way of the master leads through any more.  Pure.

Nobody says here that such a job is over: its release goes another way.  When a node has another parent, the master
sends all jobs of it and of those below again, before it answers the second question for a lease.
"""

from __future__ import annotations

from collections.abc import Iterable


class Stranded:
    """One slave's."""

    def __init__(self) -> None:
        self._before: frozenset[int] = frozenset()

    def parent_lost(self) -> None:
        """From now on all jobs wait for another way."""
        self._before = frozenset()

    def heard(self, jobs: Iterable[int]) -> frozenset[int]:
        """A lease has come.  jobs: those on no way now.  Returns those to let go of."""
        now = frozenset(jobs)
        twice = now & self._before
        self._before = now - twice
        return twice
