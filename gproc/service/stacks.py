"""Where the processes of a job are: the nodes are asked, and their answers are one for the client.

A node that does not answer in time is named with the reason, as far as the master knows it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from gproc.nodespec import fold
from gproc.relay.relayed_job import RelayedJob
from gproc.relay.stack_merge import StackMerge, ranges_of
from gproc.request.acts import ShowStacks
from gproc.service.live import LiveJob
from gproc.wire.stacks import RANK_HAS_ENDED, AskStacks, JobStacks, StackRemark, StacksShown

ANSWER_S: Final = 3.0
"""Seconds in which nodes must answer: they look for 0.5 s at most, and py-spy has 1 s.  The rest is for the way, and
for the list of all processes of a busy node."""

DEBUGGER_S: Final = 12.0
"""The same with gdb."""


class _Inquiry:
    def __init__(self, job: int, number: int, expected: Iterable[int]) -> None:
        self.merge = StackMerge(job, number)
        self.expected = set(expected)
        self.complete = asyncio.Event()
        self.look()

    def look(self) -> None:
        if self.expected <= self.merge.ranks:
            self.complete.set()


class StackInquiries:
    """The inquiries that are open, by number."""

    def __init__(self) -> None:
        self._open: dict[int, _Inquiry] = {}
        self._numbers = itertools.count(1)

    def take(self, relayed: RelayedJob, shown: StacksShown) -> None:
        """An answer.  Each rank in it is one that its sender may speak for (`gproc.relay.stacks`)."""
        inquiry = self._open.get(shown.inquiry)
        if inquiry is not None and inquiry.merge.job == relayed.job == shown.job:
            inquiry.merge.add(shown, sorted(inquiry.expected))
            inquiry.look()

    async def ask(self, live: LiveJob, ranks: Sequence[int], question: AskStacks) -> JobStacks:
        """Ask the nodes of these ranks."""
        silent = {rank: why for rank in ranks if (why := _why_silent(live, rank))}
        expected = [rank for rank in ranks if rank not in silent]
        number = next(self._numbers)
        inquiry = self._open[number] = _Inquiry(live.job.number, number, expected)
        try:
            if expected:
                places = live.job.places
                nodes = "" if len(expected) == len(places) else fold(places[rank] for rank in expected)
                live.inquire(ShowStacks(number, nodes, question.debugger))
                try:
                    async with asyncio.timeout(DEBUGGER_S if question.debugger else ANSWER_S):
                        await inquiry.complete.wait()
                except TimeoutError:
                    pass
        finally:
            del self._open[number]
        merge = inquiry.merge
        for rank in inquiry.expected - merge.ranks:
            silent[rank] = _why_silent(live, rank) or "no answer in time"
        return JobStacks(
            question.serial, live.job.number, live.job.places, ranges_of(ranks), ranges_of(merge.ranks), merge.rows(),
            merge.remarks(), merge.left_out, _grouped(silent),
        )  # fmt: skip


def _why_silent(live: LiveJob, rank: int) -> str:
    """Why a rank has nothing to show; "" if it may have."""
    if rank in live.job.outcomes:
        return RANK_HAS_ENDED
    if live.job.waits(rank):
        return "waits for its turn"
    if rank in live.unreached:
        return "cannot be reached"
    return ""


def _grouped(silent: dict[int, str]) -> tuple[StackRemark, ...]:
    ranks: dict[str, list[int]] = {}
    for rank, why in silent.items():
        ranks.setdefault(why, []).append(rank)
    return tuple(StackRemark(why, ranges_of(each)) for why, each in sorted(ranks.items()))
