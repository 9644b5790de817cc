"""The state of the tree for clients: every node that is connected, with its load."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from gproc.errors import GprocError, TrustError
from gproc.nodespec import NodeSpec, Place, fold
from gproc.request.spec import Caller
from gproc.service.absences import Absences
from gproc.service.choosing import none_fits, selected
from gproc.service.draining import Draining
from gproc.service.faults import Faults
from gproc.service.finding import NodeFinder
from gproc.service.oversight import Oversight
from gproc.service.registry import Registry
from gproc.trust.lease import boottime_s
from gproc.wire.job_messages import DrainNodes, FaultList, FindNodes, FoundNodes, NodesDrained
from gproc.wire.loads import Load
from gproc.wire.messages import NodeState, TreeState
from gproc.wire.tree_rows import MasterCounts

log = logging.getLogger("gproc")

POLL_S: Final = 1.0
"""Seconds for which `gproc i` waits for the slowest node's load."""


class PolledTree(Protocol):
    """What this needs of the master."""

    registry: Registry
    absences: Absences
    draining: Draining
    faults: Faults

    def counted(self) -> MasterCounts:
        """What it has done since it began."""

    def poll(self, serial: int) -> None:
        """Ask every node for its load; `TreeInquiries.add_loads` gets the answers."""


class TreeInquiries:
    """name: the master's host.  busy: how many jobs run on each node."""

    def __init__(
        self, master: PolledTree, name: str, busy: Callable[[], Counter[Place]], finder: NodeFinder,
        oversight: Oversight, drained: Callable[[Sequence[Place]], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """drained: told which nodes take no new jobs from now on."""
        self._drained = drained
        self._oversight = oversight
        self._finder = finder
        self._master = master
        self._name = name
        self._busy = busy
        self._since_s = time.time()
        self._polls: dict[int, _Poll] = {}
        self._poll_numbers = itertools.count(1)
        self._polling: asyncio.Task[_Poll] | None = None

    async def list_faults(self, serial: int) -> FaultList:
        """The last faults of the tree."""
        return FaultList(serial, self._master.faults.rows(boottime_s()))

    async def find(self, question: FindNodes) -> FoundNodes:
        """Nodes by their hosts' names."""
        return self._finder.find(question)

    async def drain(self, question: DrainNodes, caller: Caller) -> NodesDrained:
        """Keep new jobs from connected nodes, or let these take jobs again.

        Raises: GprocError; SpecError; TrustError if the caller may not.
        """
        if not self._oversight.may(caller, "drain"):
            raise TrustError("only root, the user who runs the master, and users whom a policy allows may drain nodes")
        registry = self._master.registry
        nodes, missing = selected(registry, NodeSpec.parse(question.nodes))
        if not nodes:
            raise GprocError(none_fits(registry, question.nodes))
        if question.resume:
            self._master.draining.resume(nodes)
        else:
            self._master.draining.drain(nodes, caller.uid, question.reason, time.time())
            self._drained([node.place for node in nodes])
        places = [node.place for node in nodes]
        log.info("uid %d: %s %s", caller.uid, fold(places), "take jobs again" if question.resume else "are drained")
        busy = self._busy()
        return NodesDrained(question.serial, fold(places), fold(place for place in places if busy[place]), missing)

    async def answer(self, serial: int) -> TreeState:
        """The tree, with the load of each node that answers within POLL_S."""
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        poll = await asyncio.shield(self._polling)
        busy = self._busy()
        rows = (
            NodeState(
                node.place,
                node.info,
                busy[node.place],
                poll.loads.get(node.place),
                poll.memory.get(node.place),
                self._master.draining.of(node),
            )
            for node in self._master.registry.connected()
        )
        absent = self._master.absences.rows(boottime_s())
        return TreeState(serial, self._name, self._since_s, tuple(rows), absent, self._master.counted())

    async def _poll(self) -> _Poll:
        """Ask all nodes for their loads and memory, once for all clients that ask at the same time."""
        number = next(self._poll_numbers)
        poll = self._polls[number] = _Poll(len(self._master.registry))
        log.debug("a client asks for the tree: %d nodes are asked for their load", poll.expected)
        self._master.poll(number)
        try:
            async with asyncio.timeout(POLL_S):
                await poll.complete.wait()
        except TimeoutError:
            log.info("%d nodes did not say their load", poll.expected - len(poll.loads))
        del self._polls[number]
        return poll

    def add_loads(self, message: Load) -> None:
        """Take nodes' answers to a poll."""
        poll = self._polls.get(message.serial)
        if poll is not None:
            reached_by = self._master.registry.reached_by
            poll.memory.update(
                (node.place, size) for route, size in message.memory if (node := reached_by(route)) is not None
            )
            poll.add((node.place, load) for route, load in message.loads if (node := reached_by(route)) is not None)


class _Poll:
    """The answers to one poll, collected."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.loads: dict[Place, float] = {}
        self.memory: dict[Place, tuple[int, int]] = {}
        self.complete = asyncio.Event()
        if not expected:
            self.complete.set()

    def add(self, loads: Iterable[tuple[Place, float]]) -> None:
        self.loads.update(loads)
        if len(self.loads) >= self.expected:
            self.complete.set()
