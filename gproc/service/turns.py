"""Which nodes of a job begin now, if it runs on so many nodes at a time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Protocol

from gproc.errors import GprocError
from gproc.nodespec import fold
from gproc.request.acts import Act
from gproc.service.book import JobBook
from gproc.service.continuing import can_go_on
from gproc.service.live import LiveJob
from gproc.service.registry import Node, Registry
from gproc.service.ways import JobWays, WaySender
from gproc.service.window import Window
from gproc.wire.messages import Signed

log = logging.getLogger("gproc")


class TurnSender(WaySender, Protocol):
    """What this needs of the master."""

    registry: Registry


class JobTurns:
    def __init__(self, master: TurnSender, book: JobBook) -> None:
        self.ways: JobWays
        """Set by the owner of both."""
        self._master = master
        self._book = book
        self._with_room: dict[LiveJob, None] = {}
        """Jobs of which more nodes may begin."""
        self._noting: set[asyncio.Task[None]] = set()

    def next_of(self, live: LiveJob, window: Window) -> list[Node]:
        """The nodes that begin now."""
        there: dict[int, Node] = {}

        def is_reachable(rank: int) -> bool:
            node = self._master.registry.by_nonce(live.nonce_of.get(rank, b""))
            if node is not None and node.route is not None:
                there[rank] = node
            return rank in there

        return [there[rank] for rank in window.take(is_reachable)]

    def have_room(self, live: LiveJob) -> None:
        """More of its nodes may begin: together, if several have ended just now."""
        if live not in self._with_room:
            if not self._with_room:
                asyncio.get_running_loop().call_soon(self._take)
            self._with_room[live] = None

    def _take(self) -> None:
        lives, self._with_room = self._with_room, {}
        for live in lives:
            window = live.job.window
            if window is None or live.job.over or not (nodes := self.next_of(live, window)):
                continue
            log.debug("job %d: it is the turn of %s", live.job.number, fold(node.place for node in nodes))
            if can_go_on(live):
                task = asyncio.create_task(self._note(live, nodes))
                self._noting.add(task)
                task.add_done_callback(self._noting.discard)
            else:
                self._begin(live, nodes)

    async def _note(self, live: LiveJob, nodes: Sequence[Node]) -> None:
        """Let nodes begin when their turn is on the disk: another master must not take a running node for a waiting
        one.

        Orders that the job gets meanwhile are for these nodes too.
        """
        before, noted = tuple(live.orders), {live.rank_on[node.nonce] for node in nodes}
        assert live.job.window is not None
        live.job.window.noted |= noted
        self._book.note(live)
        with contextlib.suppress(GprocError):
            await self._book.keeper.written()
        live.job.window.noted -= noted
        there = [node for node in nodes if live.rank_on.get(node.nonce) not in live.job.outcomes]
        if there:
            self._begin(live, there, [each for each in live.orders if each not in before])

    def _begin(self, live: LiveJob, nodes: Sequence[Node], orders: Sequence[tuple[Act, Signed]] = ()) -> None:
        reached = self._master.pass_again(live.relayed, self.ways.run_of(live, nodes), {}, live)
        for downstream in reached:
            for act, order in orders:
                downstream.obey(live.job.number, act, order)
