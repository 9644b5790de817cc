"""The ranks of one job whose nodes cannot be reached now, and what its clients are told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from gproc.nodespec import fold
from gproc.service.jobs import JobRecord
from gproc.wire.messages import OutOfReach

TELL_S: Final = 3.0
"""Seconds until a client is told that nodes cannot be reached."""


class Absence(NamedTuple):
    """Why a node cannot be reached, and until when its program may run, in Unix time."""

    reason: str
    until_s: float


class UnreachedRanks:
    """say: tells the clients.  hold_input: called with whether standard input is held back from all nodes for now."""

    def __init__(
        self, job: JobRecord, say: Callable[[OutOfReach], None], hold_input: Callable[[bool], None]
    ) -> None:
        self._job = job
        self._say = say
        self._hold_input = hold_input
        self._absent: dict[int, Absence] = {}
        self.regained: set[int] = set()
        """The ranks whose nodes could not be reached for a while."""
        self.given_up: set[int] = set()
        """The ranks that were lost with their nodes' leases, or will not have their turn.  If such a node never had its
        part, it would begin it now, so the part is not sent any more."""
        self._told: set[int] = set()
        """The unreached ranks of which the clients know."""

    def __contains__(self, rank: object) -> bool:
        return rank in self._absent

    def add(self, rank: int, reason: str, until_s: float) -> None:
        """No way leads to the node of a rank.  until_s: in Unix time, when its program has ended at the latest."""
        if rank in self._job.outcomes or self._job.waits(rank):
            return
        if not self._absent:
            asyncio.get_running_loop().call_later(TELL_S, self._tell)
        self._absent[rank] = Absence(reason, until_s)
        self._hold_input(True)

    def find(self, rank: int) -> None:
        """A way leads to it again."""
        if self.end(rank):
            self.regained.add(rank)
            if rank in self._told:
                self._told.remove(rank)
                self._say(OutOfReach(self._job.number, self._folded([rank]), "", 0.0))

    def end(self, rank: int) -> bool:
        """The rank need not be reached any more.  Returns whether it was out of reach."""
        if self._absent.pop(rank, None) is None:
            return False
        self._hold_input(bool(self._absent))
        return True

    def _tell(self) -> None:
        """Most nodes are reached again before the clients need to know."""
        by_absence: dict[Absence, list[int]] = {}
        for rank, absence in self._absent.items():
            by_absence.setdefault(absence, []).append(rank)
        for absence, ranks in by_absence.items():
            self._told.update(ranks)
            self._say(OutOfReach(self._job.number, self._folded(ranks), absence.reason, absence.until_s))

    def _folded(self, ranks: Iterable[int]) -> str:
        return fold(self._job.places[rank] for rank in ranks)
