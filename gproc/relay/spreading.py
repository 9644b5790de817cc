"""A payload on its way through the children of one node: who feeds whom is told to them, and told again where one is
slow or gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gproc.errors import PeerError
from gproc.relay.children import Child
from gproc.relay.spread import Spread
from gproc.store.apportion import STRIPES
from gproc.wire.messages import Peer, Refeed

log = logging.getLogger("gproc")

LATE_S: Final = 0.1
"""A review that is so late is none: a machine too busy for its timers does not see when reports came."""

REPORT_S: Final = 0.2
"""How often a child says what it lacks, and how often its parent looks at what all of them said."""


class Spreading:
    """One job's bundle among the children that have a part in the job.

    own: what this node itself lacks, in bytes of each stripe; empty where that is nothing, or not known yet.
    """

    def __init__(self, job: int, children: Sequence[Child], own: Callable[[], Sequence[int]]) -> None:
        self._job = job
        self._own = own
        self._receiving = False
        self._spread = Spread(children, [child for child in children if child.slow])
        self._here = set(children)
        self._under_way = set(children)
        self._due_s = 0.0
        self._set_timer()

    def feeders_of(self, child: Child) -> tuple[Peer | None, ...]:
        return tuple(None if feeder is None else feeder.as_peer() for feeder in self._spread.feeders_of(child))

    def report(self, child: Child, missing_bytes: tuple[int, ...]) -> None:
        """Raises: PeerError for what is no report."""
        if len(missing_bytes) != STRIPES:
            raise PeerError(f"a report of {len(missing_bytes)} stripes, where there are {STRIPES}")
        if child not in self._under_way:
            return
        self._spread.report(child, missing_bytes, time.monotonic())
        if not any(missing_bytes):
            self._under_way.discard(child)

    def left(self, child: Child) -> None:
        """The child is gone: whom it fed is fed by others."""
        if child in self._here:
            self._here.discard(child)
            self._under_way.discard(child)
            self._tell(self._spread.remove(child))

    def stop(self) -> None:
        self._reviewing.cancel()

    def _review(self) -> None:
        missing_bytes = tuple(self._own())
        if missing_bytes or self._receiving:
            self._receiving = bool(missing_bytes)
            self._spread.report(None, missing_bytes or (0,) * STRIPES, time.monotonic())
        before = self._spread.slow
        if time.monotonic() < self._due_s + LATE_S:
            self._tell(self._spread.review(time.monotonic()))
        for child in self._spread.slow - before:
            log.info("job %d: node %d (%s) is slow, and feeds nobody", self._job, child.id, child.node.name)
            child.slow = True
        for child in self._spread.recovered:
            child.slow = False
        if self._under_way:
            self._set_timer()

    def _set_timer(self) -> None:
        self._due_s = time.monotonic() + REPORT_S
        self._reviewing = asyncio.get_running_loop().call_later(REPORT_S, self._review)

    def _tell(self, changes: Mapping[Child, object]) -> None:
        for child in changes:
            child.link.send(Refeed(self._job, self.feeders_of(child)))
