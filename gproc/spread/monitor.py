"""A payload on its way through the children of one node: the parent names each child's sources, and names new ones if
one is slow or gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from gproc.errors import PeerError
from gproc.spread.scheduling import STRIPES
from gproc.spread.trees import BroadcastTrees
from gproc.wire.messages import NodeInfo, Peer, SetSources

log = logging.getLogger("gproc")

LATE_S: Final = 0.1
"""A review that is this late is left out: on a machine too busy for its timers, the times of reports are wrong."""

REPORT_S: Final = 0.2
"""How often a child reports what it lacks, and how often its parent reviews the reports."""


class Recipient(Protocol):
    """A child of this node, as a broadcast sees it.  slow: it was slow with the last large payload."""

    slow: bool

    @property
    def id(self) -> int: ...

    @property
    def node(self) -> NodeInfo: ...

    def as_peer(self) -> Peer: ...

    def set_sources(self, message: SetSources) -> None: ...


class BroadcastMonitor:
    """The broadcast of one job's bundle among the children that have a part in the job.

    own: what this node itself lacks, in bytes of each stripe; empty if it lacks nothing or does not know yet.
    """

    def __init__(self, job: int, children: Sequence[Recipient], own: Callable[[], Sequence[int]]) -> None:
        self._job = job
        self._own = own
        self._receiving = False
        self._trees = BroadcastTrees(children, [child for child in children if child.slow])
        self._connected = set(children)
        self._receiving_children = set(children)
        self._due_s = 0.0
        self._set_timer()

    def sources_of(self, child: Recipient) -> tuple[Peer | None, ...]:
        return tuple(None if source is None else source.as_peer() for source in self._trees.sources_of(child))

    def report(self, child: Recipient, missing_bytes: tuple[int, ...]) -> None:
        """Take a child's report.  Raises: PeerError if it has the wrong number of stripes."""
        if len(missing_bytes) != STRIPES:
            raise PeerError(f"its report has {len(missing_bytes)} stripes; there are {STRIPES}")
        if child not in self._receiving_children:
            return
        self._trees.report(child, missing_bytes, time.monotonic())
        if not any(missing_bytes):
            self._receiving_children.discard(child)

    def left(self, child: Recipient) -> None:
        """The child is gone: its receivers get other sources."""
        if child in self._connected:
            self._connected.discard(child)
            self._receiving_children.discard(child)
            self._announce(self._trees.remove(child))

    def stop(self) -> None:
        self._reviewing.cancel()

    def _review(self) -> None:
        missing_bytes = tuple(self._own())
        if missing_bytes or self._receiving:
            self._receiving = bool(missing_bytes)
            self._trees.report(None, missing_bytes or (0,) * STRIPES, time.monotonic())
        before = self._trees.slow
        if time.monotonic() < self._due_s + LATE_S:
            self._announce(self._trees.review(time.monotonic()))
        for child in self._trees.slow - before:
            log.info("job %d: node %d (%s) is slow: it no longer sends to peers", self._job, child.id, child.node.name)
            child.slow = True
        for child in self._trees.recovered:
            child.slow = False
        if self._receiving_children:
            self._set_timer()

    def _set_timer(self) -> None:
        self._due_s = time.monotonic() + REPORT_S
        self._reviewing = asyncio.get_running_loop().call_later(REPORT_S, self._review)

    def _announce(self, changes: Mapping[Recipient, object]) -> None:
        for child in changes:
            child.set_sources(SetSources(self._job, self.sources_of(child)))
