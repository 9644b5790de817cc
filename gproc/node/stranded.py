"""Notices jobs that this node only relayed, and that no way of the master leads through any more.  Pure.

This node does not hear that such a job is over, because the release goes another way.  When a node has another parent,
the master sends all jobs of it and of the nodes below again, before it answers the second question for a lease.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol


class Runnable(Protocol):
    @property
    def runs_here(self) -> bool:
        """Whether a program of it runs on this node."""


class OnAWay(Protocol):
    @property
    def is_stranded(self) -> bool:
        """Whether it came by no way that is there, or leads to none."""


class Stranded:
    """One slave's."""

    def __init__(self) -> None:
        self._before: frozenset[int] = frozenset()

    def parent_lost(self) -> None:
        """From now on all jobs wait for another way."""
        self._before = frozenset()

    def heard(
        self, live: Collection[int], admitted: Mapping[int, Runnable], relayed: Mapping[int, OnAWay]
    ) -> frozenset[int]:
        """A lease has come.  live: the jobs that it names.  The others are this node's.  Returns the jobs to drop."""
        over = [job for job, here in admitted.items() if job not in live and not here.runs_here]
        now = frozenset(job for job in over if relayed[job].is_stranded)
        twice = now & self._before
        self._before = now - twice
        return twice
